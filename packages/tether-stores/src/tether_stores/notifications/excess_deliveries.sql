-- excess_deliveries: deliveries beyond the bounds of a payment, a key or an account (tether_core.notifications.excess_deliveries).
--
-- A row holds the count of the notification that represents them. Only the recording process writes counts and no foreign key
-- refers to the notification, so a worker that has locked its row delays nobody; it is deleted with its notification, when that is
-- archived. A periodic task announces each row once.

-- representing --
-- The notification that represents each of n deliveries that were not stored: the oldest of its payment and class, or the latest
-- identity check of its account; and one of them that the gateway contradicted. Arrays of length n. Returns place from 0, id or
-- null, contradicted id or null.
select
    given.place - 1,
    case
        when given.report_class = 'kyc' then (
            select id from webhook_events e
            where e.kind = 'kyc' and e.account = given.account
            order by e.received_at desc
            limit 1
        )
        else (
            select min(e.id) from webhook_events e
            where e.notification_id = given.notification_id and e.account = given.account
                and e.report_class = given.report_class and e.state <> 'conflicting'
        )
    end,
    (
        select min(e.id) from webhook_events e
        where e.notification_id = given.notification_id and e.account = given.account
            and e.report_class = given.report_class and e.state <> 'conflicting' and e.contradicted_count > 0
            and e.state in ('confirming', 'contradicted')
    )
from unnest(%(accounts)b::text[], %(notification_ids)b::text[], %(report_classes)b::text[])
    with ordinality as given (account, notification_id, report_class, place)
order by given.place;

-- count --
-- Add to the counts of n notifications. Arrays of length n, each id once.
insert into excess_deliveries as e (webhook_event_id, deliveries, first_at, last_at)
select given.id, given.deliveries, %(now)s, %(now)s
from unnest(%(ids)b::bigint[], %(deliveries)b::bigint[]) as given (id, deliveries)
order by given.id
on conflict (webhook_event_id) do update
set deliveries = e.deliveries + excluded.deliveries, last_at = excluded.last_at;

-- take_unannounced --
-- Mark up to %(limit)s rows as announced. Returns webhook_event_id, deliveries, and kind and account of the notification.
with taken as (
    select webhook_event_id
    from excess_deliveries
    where announced_at is null
    order by first_at
    limit %(limit)s
    for update skip locked
),
marked as (
    update excess_deliveries e
    set announced_at = %(now)s
    from taken
    where e.webhook_event_id = taken.webhook_event_id
    returning e.webhook_event_id, e.deliveries
)
select marked.webhook_event_id, marked.deliveries, n.kind, n.account
from marked
join webhook_events n on n.id = marked.webhook_event_id
order by marked.webhook_event_id;

-- counts --
-- Notifications with excess deliveries, and these deliveries, from the stored counts (row_counts.sql). One row.
select coalesce(sum(count), 0)::bigint, coalesce(sum(amount), 0)::bigint
from (
    select count, amount from row_counts where subject = 'excess_deliveries'
    union all
    select count, amount from row_count_changes where subject = 'excess_deliveries'
) counted;

-- of --
-- Excess deliveries that a notification represents. 0 or 1 row.
select deliveries from excess_deliveries where webhook_event_id = %(id)s;
