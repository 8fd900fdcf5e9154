-- webhook_events: the inbox.
--
-- `record` inserts the rows of all requests that wait together in one statement. The first insert of a key wins. The others
-- are missing from what the statement returns, and `stored` then distinguishes repeats from conflicts.
-- Rows are inserted in the order of their keys, so that two processes with the same keys wait for each other
-- instead of deadlocking.
--
-- Plans of prepared statements are often made while the table is small or has no statistics yet, and kept while it grows. So rows that
-- are no conflicts are found by `state <> 'conflicting'`: for `conflicts_with is null` Postgres assumes few rows until it has
-- statistics, and reads the whole index of that condition for each row.
--
-- A worker locks rows by `claim` with "skip locked" and writes the effects in the same transaction. If a worker dies, its
-- connection closes and the locks end. If it freezes, idle_in_transaction_session_timeout closes the connection.
--
-- Arrays are sent in binary (the placeholder's "b"): as text, each element would be quoted and parsed.

-- record --
-- Insert n notifications within the bounds of tether_core.notifications.excess_deliveries. Arrays of length n. Concurrent
-- statements do not see each other's rows, so together they may exceed a bound. The keys of archived ones are looked up one by one, by
-- a subquery that Postgres cannot turn into a join, whose plan would read all of them.
-- Returns id and key of those that are new: 0 to n rows.
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body, report_class,
    relay_id, sender, state, failures, received_at, next_at
)
select
    given.key, given.content, given.account, given.kind, given.notification_id, given.status, nullif(given.event, ''),
    %(source)s, given.content_type, given.body, given.report_class, given.relay_id, given.sender, 'waiting', 0, %(now)s, %(now)s
from (
    select
        sent.*,
        dense_rank() over (
            partition by account, report_class, case when kind = 'kyc' then '' else notification_id end order by key
        ) as nth
    from unnest(
        %(keys)b::bytea[], %(contents)b::bytea[], %(accounts)b::text[], %(kinds)b::text[],
        %(notification_ids)b::text[], %(statuses)b::text[], %(events)b::text[], %(content_types)b::text[],
        %(bodies)b::bytea[], %(report_classes)b::text[], %(relay_ids)b::bigint[], %(senders)b::text[]
    ) as sent (
        key, content, account, kind, notification_id, status, event, content_type, body, report_class, relay_id, sender
    )
) as given
where case
    when (select true from archived_notifications k where k.key = given.key) then false
    when given.report_class = '' then true
    when given.kind = 'kyc' then given.nth + (
        select count(*) from (
            select from webhook_events e
            where e.kind = 'kyc' and e.account = given.account and e.received_at > %(now)s - interval '1 day'
            limit %(identity_checks_max)s
        ) as same
    ) <= %(identity_checks_max)s
    else given.nth + (
        select count(*) from webhook_events e
        where e.notification_id = given.notification_id and e.account = given.account
            and e.report_class = given.report_class and e.state <> 'conflicting'
    ) <= %(rows_max)s
end
order by given.key
on conflict (key) where conflicts_with is null do nothing
returning id, key;

-- owners --
-- The accounts of the payments that n notifications name: by the id that is signed, then by our id, then by the payment that a refund made in
-- the gateway's back office refers to. Arrays of length n, "" for none. n rows in their order: account, null for a payment that is not known.
select coalesce(
    (select a.account from billing_attempts a where a.unique_id = given.unique_id),
    (select r.account from refunds r where r.unique_id = given.unique_id),
    (select a.account from billing_attempts a where a.transaction_id = given.transaction_id),
    (select r.account from refunds r where r.transaction_id = given.transaction_id),
    (select a.account from billing_attempts a where a.unique_id = given.reference)
)
from unnest(%(unique_ids)s::text[], %(transaction_ids)s::text[], %(references)s::text[])
    with ordinality as given (unique_id, transaction_id, reference, place)
order by given.place;

-- stored --
-- The stored notifications of n keys. Returns key, content, id, and whether the gateway contradicts it: 0 to n rows.
select key, content, id, contradicted_count > 0 and state in ('confirming', 'contradicted')
from webhook_events where key = any(%(keys)b) and conflicts_with is null;

-- archived --
-- The archived notifications of n keys. Returns key, content, id: 0 to n rows.
select key, content, id from archived_notifications where key = any(%(keys)b);

-- record_conflicts --
-- Insert n deliveries whose keys are stored with other content, within the bounds of
-- tether_core.notifications.excess_deliveries. Arrays of length n. Returns key and content of those inserted.
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body, report_class,
    relay_id, sender, state, reason, failures, conflicts_with, received_at
)
select
    given.key, given.content, given.account, given.kind, given.notification_id, given.status, nullif(given.event, ''),
    'webhook', given.content_type, given.body, given.report_class, given.relay_id, given.sender, 'conflicting', 'conflicting', 0,
    given.conflicts_with, %(now)s
from (
    select sent.*, dense_rank() over (partition by key order by content) as nth
    from unnest(
        %(keys)b::bytea[], %(contents)b::bytea[], %(accounts)b::text[], %(kinds)b::text[],
        %(notification_ids)b::text[], %(statuses)b::text[], %(events)b::text[], %(content_types)b::text[],
        %(bodies)b::bytea[], %(report_classes)b::text[], %(relay_ids)b::bigint[], %(senders)b::text[],
        %(conflicts_with)b::bigint[]
    ) as sent (
        key, content, account, kind, notification_id, status, event, content_type, body, report_class, relay_id, sender, conflicts_with
    )
) as given
where given.nth + (
    select count(*) from webhook_events e where e.key = given.key and e.conflicts_with is not null
) <= %(conflicts_max)s
order by given.key, given.content
on conflict (key, content) where conflicts_with is not null do nothing
returning key, content;

-- conflicts_stored --
-- The conflicting deliveries stored under n keys. Returns key, content: 0 or more rows.
select key, content from webhook_events where key = any(%(keys)b) and conflicts_with is not null;

-- reported_again --
-- Make n notifications due for an inquiry that the gateway contradicted and that were reported again, unless the last
-- contradiction is less than %(again_s)s seconds old. One whose inquiries had ended starts its schedule again. Leased rows are
-- not changed.
with again as (
    select id
    from webhook_events
    where id = any(%(ids)b) and contradicted_count > 0
        and last_contradicted_at <= %(now)s - make_interval(secs => %(again_s)s)
        and (
            state = 'contradicted'
            or (state = 'confirming' and next_at > %(now)s and (leased_until is null or leased_until <= %(now)s))
        )
    order by id
    for update skip locked
)
update webhook_events e
set
    inquiries_began_at = case when e.state = 'contradicted' then null else e.inquiries_began_at end,
    state = 'confirming', next_at = %(now)s
from again
where e.id = again.id;

-- guard --
-- Settings of a claiming transaction, local to it. A frozen worker keeps its rows locked for at most %(freeze_ms)s. Bitmap
-- scans are off because processed rows leave dead entries in the index: an index scan marks and then skips them, a bitmap scan
-- would read all of them each time until the next vacuum. Scans of whole tables are off for the whole transaction: all its
-- statements look up a few rows, and a plan that was made for a small table is kept while the table grows. Plans are kept for
-- batches of few rows too, which would be planned anew each time: see look_ups in postgres.sql.
select
    set_config('idle_in_transaction_session_timeout', %(freeze_ms)s::text, true),
    set_config('plan_cache_mode', 'force_generic_plan', true),
    set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true);

-- unguard --
-- Allow bitmap scans again for the statements after the claim.
select set_config('enable_bitmapscan', null, true);

-- claim --
-- Lock up to %(limit)s due rows, oldest first; rows that another worker has locked are skipped.
select
    id, account, content_type, body, failures, received_at, inquiries_began_at, confirmed_at,
    confirmed_status, confirmed_error_code, confirmed_reason_code, confirmed_transaction_id, confirmed_amount_minor,
    confirmed_currency
from webhook_events
where state = 'waiting' and next_at <= %(now)s
order by next_at, id
limit %(limit)s
for update skip locked;

-- finish --
-- Write the results of n claimed rows. Arrays of length n; next_at is null for rows that are complete. A contradiction is dated
-- by when the gateway responded, not by when the response was processed.
update webhook_events e
set
    state = given.state, outcome = given.outcome, reason = given.reason, failures = given.failures,
    next_at = given.next_at, attempt_id = coalesce(given.attempt_id, e.attempt_id), handled_at = %(now)s,
    contradicted_count = least(e.contradicted_count + given.is_contradicted::integer, 32767),
    first_contradicted_at = case
        when given.is_contradicted then coalesce(e.first_contradicted_at, e.confirmed_at, %(now)s)
        else e.first_contradicted_at
    end,
    last_contradicted_at = case
        when given.is_contradicted then coalesce(e.confirmed_at, %(now)s) else e.last_contradicted_at
    end,
    inquiries_began_at = given.inquiries_began_at
from unnest(
    %(ids)b::bigint[], %(states)b::text[], %(outcomes)b::text[], %(reasons)b::text[], %(failures)b::smallint[],
    %(next_ats)b::timestamptz[], %(attempt_ids)b::bigint[], %(are_contradicted)b::boolean[],
    %(inquiries_began_ats)b::timestamptz[]
) as given (id, state, outcome, reason, failures, next_at, attempt_id, is_contradicted, inquiries_began_at)
where e.id = given.id;

-- wake_matched --
-- Make notifications due whose payment is stored by now. Returns how many.
with woken as (
    update webhook_events e
    set next_at = %(now)s
    from billing_attempts a
    where e.state = 'waiting' and e.reason in ('unknown_payment', 'unlinked') and e.next_at > %(now)s
        and a.unique_id = e.notification_id
    returning 1
)
select count(*) from woken;

-- wake_known --
-- Make notifications of n newly stored payments due: those that wait for it, and those that were parked for it. Returns how
-- many of each: two rows, state and count.
with found as (
    select e.id, e.state
    from unnest(%(unique_ids)b::text[]) as given (unique_id)
    join webhook_events e on e.notification_id = given.unique_id
    where e.state in ('waiting', 'parked') and e.reason in ('unknown_payment', 'unlinked')
    order by e.id
    for update of e
),
woken as (
    update webhook_events e
    set state = 'waiting', failures = 0, next_at = %(now)s, reason = null, outcome = null
    from found
    where e.id = found.id
    returning found.state
)
select given.state, (select count(*) from woken where woken.state = given.state)
from unnest(array['waiting', 'parked']) as given (state);

-- due --
-- Whether any row has been due for longer than %(older_than_s)s seconds. One row.
select exists (
    select from webhook_events
    where state = 'waiting' and next_at <= %(now)s - make_interval(secs => %(older_than_s)s)
);

-- probe --
-- Check that a notification can be recorded now: the insert is rolled back, and a message in the write-ahead log makes the
-- commit real, with its flush to disk and its wait for standbys. One message.
begin;
set local statement_timeout = '5s';
savepoint probe;
insert into webhook_events (
    key, content, account, kind, notification_id, status, source, content_type, body, state, failures, received_at
)
values (
    uuid_send(gen_random_uuid()), '', 'probe', 'payment', 'probe', 'probe', 'webhook', '', '', 'processed', 0, 'epoch'
);
rollback to savepoint probe;
select pg_logical_emit_message(true, 'tether.probe', '');
commit;

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

-- replay --
-- Make a parked or contradicted notification due again. The gateway's record is cleared so that a new inquiry is made; for a
-- report record it stays, since that is the gateway's own record. Returns its id, or no row when it is in another state.
update webhook_events
set
    state = 'waiting', failures = 0, next_at = %(now)s, reason = null, outcome = null, inquiries_began_at = null,
    confirmed_status = case when source = 'report' then confirmed_status end,
    confirmed_error_code = case when source = 'report' then confirmed_error_code end,
    confirmed_reason_code = case when source = 'report' then confirmed_reason_code end,
    confirmed_transaction_id = case when source = 'report' then confirmed_transaction_id end,
    confirmed_amount_minor = null, confirmed_currency = null,
    confirmed_at = case when source = 'report' then confirmed_at end
where id = %(id)s and state in ('parked', 'contradicted')
returning id;
