-- webhook_events: the inbox.
--
-- A row is born by `record`, in one statement for all requests that wait together. Whoever inserts a key first
-- wins; the losers learn it from what the statement returns, and `on_record` then tells repeats from conflicts.
-- Rows are inserted in the order of their keys, so that two processes with the same keys wait for each other
-- instead of deadlocking.
--
-- A worker takes rows by `claim`: locked with "skip locked" until its transaction ends, and the effects are
-- written in that same transaction. A worker that dies gives its rows back at once, because the lock dies with
-- the connection; one that freezes loses the connection to idle_in_transaction_session_timeout.

-- record --
-- Insert n notifications. Arrays of length n, ordered alike.
-- Returns id and key of those that are new: 0 to n rows.
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body,
    state, failures, received_at, next_at
)
select
    told.key, told.content, told.account, told.kind, told.notification_id, told.status, nullif(told.event, ''),
    %(source)s, told.content_type, told.body, 'waiting', 0, %(now)s, %(now)s
from unnest(
    %(keys)s::bytea[], %(contents)s::bytea[], %(accounts)s::text[], %(kinds)s::text[], %(notification_ids)s::text[],
    %(statuses)s::text[], %(events)s::text[], %(content_types)s::text[], %(bodies)s::bytea[]
) as told (key, content, account, kind, notification_id, status, event, content_type, body)
order by told.key
on conflict (key) where conflicts_with is null do nothing
returning id, key;

-- on_record --
-- What stands under n keys. Returns key, content, id: 0 to n rows.
select key, content, id from webhook_events where key = any(%(keys)s) and conflicts_with is null;

-- record_conflict --
-- Keep a delivery whose key is on record with other content. Returns its id, or no row when this very delivery
-- has been kept before.
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body,
    state, reason, failures, conflicts_with, received_at
)
values (
    %(key)s, %(content)s, %(account)s, %(kind)s, %(notification_id)s, %(status)s, nullif(%(event)s, ''), %(source)s,
    %(content_type)s, %(body)s, 'conflicting', 'conflicting', 0, %(conflicts_with)s, %(now)s
)
on conflict (key, content) where conflicts_with is not null do nothing
returning id;

-- claim --
-- Lock up to %(limit)s waiting rows that are due, oldest first; rows another worker holds are passed over.
-- Also bounds how long this transaction may idle, so that a frozen worker cannot sit on its rows.
with guard as materialized (
    select set_config('idle_in_transaction_session_timeout', %(freeze_ms)s::text, true)
)
select
    e.id, e.account, e.content_type, e.body, e.failures, e.received_at,
    e.confirmed_status, e.confirmed_error_code, e.confirmed_reason_code
from guard, webhook_events e
where e.state = 'waiting' and e.next_at <= %(now)s
order by e.next_at, e.id
limit %(limit)s
for update of e skip locked;

-- finish --
-- Write what came of n claimed rows. Arrays of length n; next_at is null for rows that are done with.
update webhook_events e
set
    state = told.state, outcome = told.outcome, reason = told.reason, failures = told.failures,
    next_at = told.next_at, attempt_id = coalesce(told.attempt_id, e.attempt_id), handled_at = %(now)s
from unnest(
    %(ids)s::bigint[], %(states)s::text[], %(outcomes)s::text[], %(reasons)s::text[], %(failures)s::smallint[],
    %(next_ats)s::timestamptz[], %(attempt_ids)s::bigint[]
) as told (id, state, outcome, reason, failures, next_at, attempt_id)
where e.id = told.id;

-- wake_matched --
-- Make notifications due that waited for a payment we now have. Returns how many.
with woken as (
    update webhook_events e
    set next_at = %(now)s
    from billing_attempts a
    where e.state = 'waiting' and e.reason = 'unknown_payment' and e.next_at > %(now)s
        and a.unique_id = e.notification_id
    returning 1
)
select count(*) from woken;

-- due --
-- Whether any row has been due for longer than %(older_than_s)s seconds. One row.
select exists (
    select from webhook_events
    where state = 'waiting' and next_at <= %(now)s - make_interval(secs => %(older_than_s)s)
);

-- tally --
-- How the inbox stands. One row: waiting and due, put off, confirming, processed, parked, conflicting, and the
-- age in seconds of the oldest row that is due (0 when none is).
select
    count(*) filter (where state = 'waiting' and next_at <= %(now)s),
    count(*) filter (where state = 'waiting' and next_at > %(now)s),
    count(*) filter (where state = 'confirming'),
    count(*) filter (where state = 'processed'),
    count(*) filter (where state = 'parked'),
    count(*) filter (where state = 'conflicting'),
    coalesce(extract(epoch from %(now)s - min(next_at) filter (where state = 'waiting' and next_at <= %(now)s)), 0)
        ::double precision
from webhook_events;

-- oldest_due_s --
-- Age in seconds of the oldest row that is due, 0 when none is. One row; reads one index entry.
select coalesce(
    (
        select extract(epoch from %(now)s - next_at)::double precision
        from webhook_events
        where state = 'waiting' and next_at <= %(now)s
        order by next_at
        limit 1
    ),
    0
);

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select
    id, source, kind, notification_id, status, event, account, state, outcome, reason, failures, attempt_id,
    conflicts_with, confirmed_status, confirmed_at, received_at, next_at, handled_at
from webhook_events
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(notification_id)s::text is null or notification_id = %(notification_id)s)
order by id desc
limit %(limit)s;

-- one --
-- One notification with its raw body. 0 or 1 row; the columns of `listed`, then content_type and body.
select
    id, source, kind, notification_id, status, event, account, state, outcome, reason, failures, attempt_id,
    conflicts_with, confirmed_status, confirmed_at, received_at, next_at, handled_at, content_type, body
from webhook_events
where id = %(id)s;

-- replay --
-- Put a parked notification back. Returns its id, or no row when it is not parked.
update webhook_events
set state = 'waiting', failures = 0, next_at = %(now)s, reason = null, outcome = null
where id = %(id)s and state = 'parked'
returning id;
