-- webhook_events: the inbox.
--
-- A row is born by `record`, in one statement for all requests that wait together. Whoever inserts a key first
-- wins; the losers learn it from what the statement returns, and `stored` then tells repeats from conflicts.
-- Rows are inserted in the order of their keys, so that two processes with the same keys wait for each other
-- instead of deadlocking.
--
-- A worker takes rows by `claim`: locked with "skip locked" until its transaction ends, and the effects are
-- written in that same transaction. A worker that dies gives its rows back at once, because the lock dies with
-- the connection; one that freezes loses the connection to idle_in_transaction_session_timeout.
--
-- Arrays travel in binary, by the placeholder's "b": as text, each of their elements would be quoted and parsed.

-- record --
-- Insert n notifications, as far as they are kept (tether_core.notifications.excess_deliveries). Arrays of length n, ordered alike. Two statements at once do
-- not see each other's rows, so a bound may be passed by what is recorded at the same time.
-- Returns id and key of those that are new: 0 to n rows.
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body, report_class,
    state, failures, received_at, next_at
)
select
    given.key, given.content, given.account, given.kind, given.notification_id, given.status, nullif(given.event, ''),
    %(source)s, given.content_type, given.body, given.report_class, 'waiting', 0, %(now)s, %(now)s
from (
    select
        sent.*,
        dense_rank() over (
            partition by account, report_class, case when kind = 'kyc' then '' else notification_id end order by key
        ) as nth
    from unnest(
        %(keys)b::bytea[], %(contents)b::bytea[], %(accounts)b::text[], %(kinds)b::text[],
        %(notification_ids)b::text[], %(statuses)b::text[], %(events)b::text[], %(content_types)b::text[],
        %(bodies)b::bytea[], %(report_classes)b::text[]
    ) as sent (
        key, content, account, kind, notification_id, status, event, content_type, body, report_class
    )
) as given
where case
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
            and e.report_class = given.report_class and e.conflicts_with is null
    ) <= %(rows_max)s
end
order by given.key
on conflict (key) where conflicts_with is null do nothing
returning id, key;

-- stored --
-- What stands under n keys. Returns key, content, id, and whether the gateway contradicts it: 0 to n rows.
select key, content, id, contradicted_count > 0 and state in ('confirming', 'contradicted')
from webhook_events where key = any(%(keys)b) and conflicts_with is null;

-- record_conflicts --
-- Keep n deliveries whose keys are stored with other content, as far as they are kept (tether_core.notifications.excess_deliveries). Arrays of length n.
-- Returns key and content of those that are kept now.
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body, report_class,
    state, reason, failures, conflicts_with, received_at
)
select
    given.key, given.content, given.account, given.kind, given.notification_id, given.status, nullif(given.event, ''),
    'webhook', given.content_type, given.body, given.report_class, 'conflicting', 'conflicting', 0, given.conflicts_with,
    %(now)s
from (
    select sent.*, dense_rank() over (partition by key order by content) as nth
    from unnest(
        %(keys)b::bytea[], %(contents)b::bytea[], %(accounts)b::text[], %(kinds)b::text[],
        %(notification_ids)b::text[], %(statuses)b::text[], %(events)b::text[], %(content_types)b::text[],
        %(bodies)b::bytea[], %(report_classes)b::text[], %(conflicts_with)b::bigint[]
    ) as sent (
        key, content, account, kind, notification_id, status, event, content_type, body, report_class, conflicts_with
    )
) as given
where given.nth + (
    select count(*) from webhook_events e where e.key = given.key and e.conflicts_with is not null
) <= %(conflicts_max)s
order by given.key, given.content
on conflict (key, content) where conflicts_with is not null do nothing
returning key, content;

-- conflicts_stored --
-- Which conflicting deliveries are kept under n keys. Returns key, content: 0 or more rows.
select key, content from webhook_events where key = any(%(keys)b) and conflicts_with is not null;

-- reported_again --
-- Inquire at once about n notifications that the gateway contradicted and that were reported again, unless that was done within
-- %(again_s)s seconds. One that was contradicted to the last begins its schedule anew. A row that somebody works on is left to them.
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
-- What a claiming transaction sets for itself, and for itself alone, before it claims. A frozen worker cannot sit on
-- its rows for longer than %(freeze_ms)s. And the claim walks its index in order: rows that are done leave entries
-- behind in it, which a walk marks and skips from then on, while a bitmap scan would read all of them each time until
-- the next vacuum.
select
    set_config('idle_in_transaction_session_timeout', %(freeze_ms)s::text, true),
    set_config('enable_bitmapscan', 'off', true);

-- unguard --
-- Let the statements after the claim be planned as usual.
select set_config('enable_bitmapscan', null, true);

-- claim --
-- Lock up to %(limit)s waiting rows that are due, oldest first; rows another worker holds are passed over.
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
-- Write what came of n claimed rows. Arrays of length n; next_at is null for rows that are done with. A contradiction counts
-- from when the gateway answered, not from when its answer was read.
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
-- Make notifications due that waited for a payment we now have. Returns how many.
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
-- Make notifications of n payments due that nobody knew so far: those that waited, and those that were parked for it.
-- Returns how many of each: two rows, state and count.
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

-- counts --
-- How the inbox stands. One row: waiting and due, deferred, confirming, processed, parked, conflicting, contradicted and
-- inquired again, contradicted to the last, and the age in seconds of the oldest row that is due (0 when none is). What is processed is
-- kept as a count (row_counts.sql); each other state is read from an index that holds nothing else.
select
    (select count(*) from webhook_events where state = 'waiting' and next_at <= %(now)s),
    (select count(*) from webhook_events where state = 'waiting' and next_at > %(now)s),
    (select count(*) from webhook_events where state = 'confirming'),
    (
        select coalesce(sum(count), 0)::bigint
        from (
            select count from row_counts where subject = 'webhook_events' and word = 'processed'
            union all
            select count from row_count_changes where subject = 'webhook_events' and word = 'processed'
        ) counted
    ),
    (select count(*) from webhook_events where state = 'parked'),
    (select count(*) from webhook_events where state = 'conflicting'),
    (select count(*) from webhook_events where state = 'confirming' and contradicted_count > 0),
    (select count(*) from webhook_events where state = 'contradicted'),
    coalesce(
        (
            select extract(epoch from %(now)s - next_at)
            from webhook_events
            where state = 'waiting' and next_at <= %(now)s
            order by next_at
            limit 1
        ),
        0
    )::double precision;

-- probe --
-- Find out whether a notification could be recorded now, without recording one: the insert is taken back, and a message in the
-- write-ahead log makes the commit a real one, with its flush to disk and its wait for standbys. One message.
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

-- unfinished --
-- How many rows are in each state but "processed", whether there are any or not. Five rows: state, count; each
-- reads its own partial index, so that processed rows, which are most, cost nothing.
select 'waiting', count(*) from webhook_events where state = 'waiting'
union all
select 'confirming', count(*) from webhook_events where state = 'confirming'
union all
select 'contradicted', count(*) from webhook_events where state = 'contradicted'
union all
select 'parked', count(*) from webhook_events where state = 'parked'
union all
select 'conflicting', count(*) from webhook_events where state = 'conflicting';

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select
    id, source, kind, notification_id, status, event, account, state, outcome, reason, failures, attempt_id,
    conflicts_with, confirmed_status, confirmed_at, contradicted_count, first_contradicted_at, last_contradicted_at,
    received_at, next_at, handled_at
from webhook_events
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(notification_id)s::text is null or notification_id = %(notification_id)s)
order by id desc
limit %(limit)s;

-- by_id --
-- One notification with its raw body. 0 or 1 row; the columns of `listed`, then content_type and body.
select
    id, source, kind, notification_id, status, event, account, state, outcome, reason, failures, attempt_id,
    conflicts_with, confirmed_status, confirmed_at, contradicted_count, first_contradicted_at, last_contradicted_at,
    received_at, next_at, handled_at, content_type, body
from webhook_events
where id = %(id)s;

-- replay --
-- Put a parked or contradicted notification back. What the gateway said to it is forgotten, so that it is inquired anew; a record
-- that we fetched ourselves is the gateway's word. Returns its id, or no row when it is neither.
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

-- claim_to_confirm --
-- Take a lease on all due rows of up to %(limit)s payments that wait for the gateway's word, those first whose oldest row
-- has waited for longest: one inquiry answers all rows of a payment, however many there are. The lease is committed before
-- anybody is asked, so no transaction is open meanwhile. A worker that dies gives its rows back when the lease is over.
-- A payment is the id that was signed; of another kind of notification it is the attempt that it names. Bodies are many
-- and large where somebody floods, so only the first row of each payment brings its own.
with due as (
    select
        id, account, next_at,
        case when kind = 'payment' then 'p ' || notification_id else coalesce('a ' || attempt_id, 'r ' || id) end
            as payment
    from webhook_events
    where state = 'confirming' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
),
payments as (
    select account, payment
    from due
    group by account, payment
    order by min(next_at), account, payment
    limit %(limit)s
),
locked as (
    select e.id
    from webhook_events e
    where e.id in (select id from due join payments using (account, payment)) and e.state = 'confirming'
        and (e.leased_until is null or e.leased_until <= %(now)s)
    order by e.id
    for update skip locked
),
ranked as (
    select id, row_number() over (partition by account, payment order by id) as place
    from locked join due using (id)
)
update webhook_events e
set leased_until = %(leased_until)s
from ranked
left join webhook_events first_row on first_row.id = ranked.id and ranked.place = 1
where e.id = ranked.id
returning
    e.id, e.account, e.kind, e.notification_id, e.status, e.event, e.failures, e.attempt_id,
    first_row.content_type, first_row.body,
    (select transaction_id from billing_attempts a where a.id = e.attempt_id),
    (select unique_id from billing_attempts a where a.id = e.attempt_id);

-- renew --
-- Hold the lease on n claims for longer, where it still is ours. Returns how many.
with held as (
    update webhook_events
    set leased_until = %(until)s
    where id = any(%(ids)b) and state = 'confirming' and leased_until = %(leased_until)s
    returning 1
)
select count(*) from held;

-- confirmed --
-- Put the gateway's own record beside n claims and have them applied. Arrays of length n. Rows whose lease somebody else
-- has by now are left alone. Returns how many were written.
with written as (
    update webhook_events e
    set
        state = 'waiting', confirmed_status = given.status, confirmed_error_code = given.error_code,
        confirmed_reason_code = given.reason_code, confirmed_transaction_id = given.transaction_id,
        confirmed_amount_minor = given.amount_minor, confirmed_currency = given.currency,
        confirmed_at = %(now)s, next_at = %(now)s, leased_until = null, failures = 0
    from unnest(
        %(ids)b::bigint[], %(statuses)b::text[], %(error_codes)b::text[], %(reason_codes)b::text[],
        %(transaction_ids)b::text[], %(amounts_minor)b::bigint[], %(currencies)b::text[]
    ) as given (id, status, error_code, reason_code, transaction_id, amount_minor, currency)
    where e.id = given.id and e.state = 'confirming' and e.leased_until = %(leased_until)s
    returning 1
)
select count(*) from written;

-- unconfirmed --
-- Let n claims wait on for the gateway's word, or park them where next_at is null. Arrays of length n.
update webhook_events e
set
    state = case when given.next_at is null then 'parked' else 'confirming' end, reason = given.reason,
    failures = given.failures, next_at = given.next_at, leased_until = null, handled_at = %(now)s
from unnest(%(ids)b::bigint[], %(reasons)b::text[], %(failures)b::smallint[], %(next_ats)b::timestamptz[])
    as given (id, reason, failures, next_at)
where e.id = given.id and e.state = 'confirming' and e.leased_until = %(leased_until)s;

-- confirmable --
-- Whether any row waits for the gateway's word and nobody is asking. One row.
select exists (
    select from webhook_events
    where state = 'confirming' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
);

-- current_status --
-- What is stored about n events, by account, id, status and event. Arrays of length n. Returns the event's place
-- from 0, and of each row its id, outcome ("unlinked" where it waits for the gateway's id of its payment), content_type, body and the gateway's own codes; oldest first.
-- A notification may lack the event that its status implies; a row with another event speaks of something else.
select
    given.place - 1, e.id, case when e.reason = 'unlinked' then 'unlinked' else e.outcome end, e.content_type, e.body, e.confirmed_error_code, e.confirmed_reason_code
from unnest(%(accounts)b::text[], %(notification_ids)b::text[], %(statuses)b::text[], %(events)b::text[])
    with ordinality as given (account, notification_id, status, event, place)
join webhook_events e
    on e.notification_id = given.notification_id and e.account = given.account and e.status = given.status
    and (e.event is null or e.event = given.event) and e.kind = 'payment' and e.conflicts_with is null
order by given.place, e.id;

-- store_report_records --
-- Insert n records that we fetched ourselves; they are claimed and confirmed at once. Arrays of length n.
-- Returns id and key of those that are new: 0 to n rows.
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
order by given.key
on conflict (key) where conflicts_with is null do nothing
returning id, key;

-- mark_listed --
-- Note for n rows in which day's list the gateway has their events. Arrays of length n. A row that has a day keeps it,
-- unless %(override)s: the list of imports knows best when a chargeback came.
update webhook_events e
set listed_on = %(listed_on)s, happened_at = coalesce(e.happened_at, given.happened_at)
from unnest(%(ids)b::bigint[], %(happened_ats)b::timestamptz[]) as given (id, happened_at)
where e.id = given.id and (e.listed_on is null or (%(override)s and e.listed_on <> %(listed_on)s));

-- word --
-- The gateway's own record about a notification. 0 or 1 row; all null where it was not asked.
select confirmed_status, confirmed_error_code, confirmed_reason_code, confirmed_transaction_id
from webhook_events
where id = %(id)s;
