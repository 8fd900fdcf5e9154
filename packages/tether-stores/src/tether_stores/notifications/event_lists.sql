-- webhook_events, listed and counted for people and for metrics.

-- counts --
-- Rows by state, and the age in seconds of the oldest due row (0 for none). One row. Processed rows are counted as they are
-- written (row_counts.sql); each other state is read from an index that holds nothing else.
select
    (select count(*) from webhook_events where state = 'waiting' and next_at <= %(now)s) as waiting,
    (select count(*) from webhook_events where state = 'waiting' and next_at > %(now)s) as deferred,
    (select count(*) from webhook_events where state = 'confirming') as confirming,
    (
        select coalesce(sum(count), 0)::bigint
        from (
            select count from row_counts where subject = 'webhook_events' and word = 'processed'
            union all
            select count from row_count_changes where subject = 'webhook_events' and word = 'processed'
        ) counted
    ) as processed,
    (select count(*) from webhook_events where state = 'parked') as parked,
    (select count(*) from webhook_events where state = 'conflicting') as conflicting,
    (select count(*) from webhook_events where state = 'confirming' and contradicted_count > 0) as inquired_again,
    (select count(*) from webhook_events where state = 'contradicted') as contradicted,
    coalesce(
        (
            select extract(epoch from %(now)s - next_at)
            from webhook_events
            where state = 'waiting' and next_at <= %(now)s
            order by next_at
            limit 1
        ),
        0
    )::double precision as oldest_due_s;

-- unfinished --
-- Rows in each state but "processed". Five rows: state, count. Each reads its own partial index, so processed rows, which are
-- most, cost nothing.
select 'waiting', count(*) from webhook_events where state = 'waiting'
union all
select 'confirming', count(*) from webhook_events where state = 'confirming'
union all
select 'contradicted', count(*) from webhook_events where state = 'contradicted'
union all
select 'parked', count(*) from webhook_events where state = 'parked'
union all
select 'conflicting', count(*) from webhook_events where state = 'conflicting';

-- {event_columns} --
-- A notification in lists.
id, source, kind, notification_id, status, event, account, state, outcome, reason, failures, attempt_id,
conflicts_with, confirmed_status, confirmed_at, contradicted_count, first_contradicted_at, last_contradicted_at,
received_at, next_at, handled_at, relay_id, sender

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select {event_columns}
from webhook_events
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(notification_id)s::text is null or notification_id = %(notification_id)s)
    and (%(account)s::text is null or account = %(account)s)
order by id desc
limit %(limit)s;

-- of_ids --
-- The notifications of some ids of the gateway, newest first. Up to %(limit)s rows. They are found by their ids before they are sorted: a walk from the newest
-- notification back would read the whole inbox for a debtor of last year.
with found as materialized (
    select {event_columns}
    from webhook_events
    where notification_id = any(%(notification_ids)s::text[])
)
select * from found order by id desc limit %(limit)s;

-- by_id --
-- One notification with its raw body. 0 or 1 row.
select {event_columns}, content_type, body
from webhook_events
where id = %(id)s;

-- confirmation --
-- The gateway's own record about a notification, once an inquiry was made. 0 or 1 row.
select
    confirmed_status as status, confirmed_error_code as error_code, confirmed_reason_code as reason_code,
    confirmed_transaction_id as transaction_id
from webhook_events
where id = %(id)s and confirmed_status is not null;
