-- quarantined_notifications: refused notifications, kept sealed for some days; the bounds: tether_core.notifications.quarantine.
--
-- Web nodes add rows some seconds after they refused. A node that adds rows holds a lock until its transaction ends, so that two processes do not
-- exceed a quota together. A row ends by `take`, in the transaction that records the notification in the inbox, or by `prune` when its days
-- are over.

-- hold --
-- Make those who add rows wait for each other. One row.
select pg_advisory_xact_lock(hashtextextended('tether quarantine', 0));

-- debits --
-- The debits that n notifications name, directly or by a refund or void. Arrays of length n. Returns n rows in their order: the attempt or null.
select coalesce(
    (select a.id from billing_attempts a where a.unique_id = given.unique_id),
    (select a.id from billing_attempts a where a.transaction_id = given.transaction_id),
    (select r.attempt_id from refunds r where r.unique_id = given.unique_id),
    (select r.attempt_id from refunds r where r.transaction_id = given.transaction_id)
)
from unnest(%(unique_ids)b::text[], %(transaction_ids)b::text[]) with ordinality as given (
    unique_id, transaction_id, position
)
order by given.position;

-- stored --
-- Digests among n that have a row. 0 to n rows.
select digest from quarantined_notifications where digest = any(%(digests)b::bytea[]);

-- quotas --
-- What is used of the quotas of n accounts. One row a quota that is not empty: account, is_known, rows, size_bytes, day_rows, day_bytes.
select
    account, attempt_id is not null as is_known, count(*) as rows, sum(size_bytes)::bigint as size_bytes,
    count(*) filter (where received_at > %(day_before)s) as day_rows,
    coalesce(sum(size_bytes) filter (where received_at > %(day_before)s), 0)::bigint as day_bytes
from quarantined_notifications
where account = any(%(accounts)b::text[])
group by account, attempt_id is not null;

-- of_debits --
-- How many rows n debits have. 0 to n rows: attempt_id, count.
select attempt_id, count(*)
from quarantined_notifications
where attempt_id = any(%(attempt_ids)b::bigint[])
group by attempt_id;

-- add --
-- Insert n rows. Arrays of length n.
insert into quarantined_notifications (
    digest, account, notification_id, report_class, attempt_id, sealed, size_bytes, sender, deliveries, received_at, last_received_at,
    relay_id
)
select
    given.digest, given.account, given.notification_id, given.report_class, given.attempt_id, given.sealed, given.size_bytes,
    nullif(given.sender, ''), given.deliveries, given.received_at, given.last_received_at, given.relay_id
from unnest(
    %(digests)b::bytea[], %(accounts)b::text[], %(notification_ids)b::text[], %(report_classes)b::text[], %(attempt_ids)b::bigint[],
    %(sealeds)b::bytea[], %(sizes_bytes)b::integer[], %(senders)b::text[], %(deliveries)b::bigint[], %(received_ats)b::timestamptz[],
    %(last_received_ats)b::timestamptz[], %(relay_ids)b::bigint[]
) with ordinality as given (
    digest, account, notification_id, report_class, attempt_id, sealed, size_bytes, sender, deliveries, received_at, last_received_at,
    relay_id, position
)
order by given.received_at, given.position;

-- repeat --
-- Count further deliveries of n rows. Arrays of length n.
update quarantined_notifications q
set deliveries = q.deliveries + given.deliveries, last_received_at = greatest(q.last_received_at, given.last_received_at)
from unnest(%(digests)b::bytea[], %(deliveries)b::bigint[], %(last_received_ats)b::timestamptz[])
    as given (digest, deliveries, last_received_at)
where q.digest = given.digest;

-- page --
-- The next %(limit)s rows in the order of their receipt, after a row: id, account, digest, sealed, received_at, sender, relay_id, and the
-- account whose passwords verify what came by that relay, revoked or not; null for the plain route.
select q.id, q.account, q.digest, q.sealed, q.received_at, q.sender, q.relay_id, r.account as relay_account
from quarantined_notifications q
left join relays r on r.id = q.relay_id
where (q.received_at, q.id) > (%(after_at)s, %(after_id)s)
order by q.received_at, q.id
limit %(limit)s;

-- take --
-- Remove a row. Returns its id, or no row where another transaction removed it.
delete from quarantined_notifications where id = %(id)s returning id;

-- listed --
-- One page for people, newest first. Up to %(limit)s rows.
select id, account, notification_id, report_class, attempt_id, size_bytes, sender, deliveries, received_at, last_received_at, relay_id
from quarantined_notifications
where %(before)s::bigint is null or id < %(before)s
order by id desc
limit %(limit)s;

-- counts --
-- What is kept in all. One row a quota: account, is_known, rows, size_bytes, oldest_at.
select
    account, attempt_id is not null as is_known, count(*) as rows, sum(size_bytes)::bigint as size_bytes, min(received_at) as oldest_at
from quarantined_notifications
group by account, attempt_id is not null
order by account, is_known;

-- prune --
-- Delete up to %(limit)s rows that were received before %(before)s. Returns how many.
with gone as (
    delete from quarantined_notifications
    where id in (
        select id from quarantined_notifications
        where received_at < %(before)s
        order by received_at, id
        limit %(limit)s
        for update skip locked
    )
    returning 1
)
select count(*) from gone;
