-- webhook_events, compared with the records of the gateway's reports (tether_core.reconciliation.report_records).

-- stored_rows --
-- Stored notifications about n events, by account, id, status and event; oldest first. Arrays of length n. The outcome is
-- "unlinked" for a row that waits for the gateway's id of its payment. A notification may lack the event that its status
-- implies; a row with another event is about something else.
select
    (given.place - 1)::integer as place, e.id, case when e.reason = 'unlinked' then 'unlinked' else e.outcome end as outcome,
    e.content_type, e.body, e.confirmed_error_code as error_code, e.confirmed_reason_code as reason_code
from unnest(%(accounts)b::text[], %(notification_ids)b::text[], %(statuses)b::text[], %(events)b::text[])
    with ordinality as given (account, notification_id, status, event, place)
join webhook_events e
    on e.notification_id = given.notification_id and e.account = given.account and e.status = given.status
    and (e.event is null or e.event = given.event) and e.kind = 'payment' and e.state <> 'conflicting'
order by given.place, e.id;

-- add --
-- Insert n report records as confirmed notifications that are due. Arrays of length n. Returns id and key of those that are
-- new: 0 to n rows. Archived ones are not new.
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body, state, failures,
    confirmed_status, confirmed_error_code, confirmed_reason_code, confirmed_transaction_id, confirmed_at, received_at,
    next_at
)
select
    given.key, given.content, given.account, 'payment', given.notification_id, given.status, given.event, 'report',
    %(content_type)s, given.body, 'waiting', 0, given.status, given.error_code, given.reason_code, given.transaction_id,
    %(now)s, %(now)s, %(now)s
from unnest(
    %(keys)b::bytea[], %(contents)b::bytea[], %(accounts)b::text[], %(notification_ids)b::text[], %(statuses)b::text[],
    %(events)b::text[], %(error_codes)b::text[], %(reason_codes)b::text[], %(transaction_ids)b::text[],
    %(bodies)b::bytea[]
) as given (
    key, content, account, notification_id, status, event, error_code, reason_code, transaction_id, body
)
where (select true from archived_notifications k where k.key = given.key) is null
order by given.key
on conflict (key) where conflicts_with is null do nothing
returning id, key;

-- mark_listed --
-- Note for n rows on which day's report the gateway lists their events. Arrays of length n. A row keeps the day it has, unless
-- %(override)s: the report by import date is exact about when a chargeback arrived.
update webhook_events e
set listed_on = %(listed_on)s, happened_at = coalesce(e.happened_at, given.happened_at)
from unnest(%(ids)b::bigint[], %(happened_ats)b::timestamptz[]) as given (id, happened_at)
where e.id = given.id and (e.listed_on is null or (%(override)s and e.listed_on <> %(listed_on)s));
