-- archives: old notifications and events, moved to the object store (tether_core.retention).
--
-- A worker begins an archive, which one worker per kind does at a time, writes the object, reads it back, and confirms the row; a worker
-- that died before that is superseded after a while. Only then are the archived rows deleted, in small batches. So a row is in its table,
-- in a confirmed archive, or in both, whenever a worker dies.
--
-- A notification leaves its key in `archived_notifications`, in the transaction that confirms its archive. An insert that began before
-- that commit cannot see the key, and would record the notification a second time once the row is deleted. So nothing is deleted
-- before all transactions that were writing to the inbox at the time have ended: `writers`, as for the outbox (events.sql).

-- begin --
-- Begin an archive, in place of one that was begun before %(stale_at)s and never confirmed. Returns id and the object that the earlier
-- worker may have written, or null; no row while another worker is at it.
with superseded as (
    select id, object_key from archives
    where kind = %(kind)s and confirmed_at is null and began_at < %(stale_at)s
    for update skip locked
),
renewed as (
    update archives a
    set object_key = %(object_key)s, began_at = %(now)s
    from superseded
    where a.id = superseded.id
    returning a.id, superseded.object_key as former_key
),
inserted as (
    insert into archives (kind, object_key, began_at)
    select %(kind)s, %(object_key)s, %(now)s
    where not exists (select from superseded)
    on conflict (kind) where confirmed_at is null do nothing
    returning id, null::text as former_key
)
select id, former_key from renewed
union all
select id, former_key from inserted;

-- abandon --
-- Take back an archive that this worker began and has nothing for.
delete from archives where id = %(id)s and object_key = %(object_key)s and confirmed_at is null;

-- examined_notifications --
-- The next %(limit)s rows of the inbox after an id. One row: how many, the last id, and whether all are older than %(before)s.
select count(*) as rows, coalesce(max(id), 0) as last_id, coalesce(bool_and(received_at < %(before)s), false) as are_old
from (select id, received_at from webhook_events where id > %(after)s order by id limit %(limit)s) page;

-- due_notifications --
-- The processed rows of the inbox after an id, up to and with another, that are older than %(before)s, as JSON; as many as have
-- %(bytes_max)s bytes, and one. Rows whose debit has an open difference stay: the review reads them. The version of a row is another one
-- after each change.
select due.id, due.version, row_to_json(due.event)::text as row
from (
    select e.id, e as event, e.xmin::text as version, sum(octet_length(e.body)) over (order by e.id) - octet_length(e.body) as size_before
    from webhook_events e
    where
        e.id > %(after)s and e.id <= %(to)s and e.state = 'processed' and e.received_at < %(before)s
        and not exists (
            select from reconciliation_differences line where line.attempt_id = e.attempt_id and line.resolved_at is null
        )
) due
where due.size_before < %(bytes_max)s
order by due.id;

-- due_events --
-- The oldest events after an id, as JSON, up to the first that is not older than %(before)s, and up to %(limit)s. Only those that the
-- review of differences has read, and that became deliveries of each subscriber that is not disabled.
select o.id, '' as version, row_to_json(o)::text as row
from (
    select * from outbox
    where
        id > %(after)s and id <= coalesce((select min(position) from reconciliation_reviews where name = %(review)s), 0)
        and id <= coalesce((select min(position) from subscribers where state in ('active', 'paused')), 9223372036854775807)
    order by id
    limit %(limit)s
) o
where not exists (
    select from (
        select id, occurred_at from outbox where id > %(after)s order by id limit %(limit)s
    ) young
    where young.occurred_at >= %(before)s and young.id <= o.id
)
order by o.id;

-- confirm --
-- Note that the object was written and read back. Returns the id, or no row when another worker has superseded this one.
update archives
set
    confirmed_at = %(now)s, rows = %(rows)s, size_bytes = %(size_bytes)s, sha256 = %(sha256)s, first_id = %(first_id)s,
    last_id = %(last_id)s, from_at = %(from_at)s, to_at = %(to_at)s
where id = %(id)s and object_key = %(object_key)s and confirmed_at is null
returning id;

-- keep_keys --
-- Keep the keys of n archived notifications, in the transaction that confirms their archive. Arrays of length n. Returns how many: fewer
-- than n where a row was changed since it was read, such as by an erasure, which waits for this transaction.
with unchanged as materialized (
    select e.key, e.content, e.id, e.attempt_id, e.notification_id
    from unnest(%(ids)s::bigint[], %(versions)s::text[]) as given (id, version)
    join webhook_events e on e.id = given.id and e.xmin::text = given.version
    where e.state = 'processed'
    for share of e
),
kept as (
    insert into archived_notifications (key, content, id, archive_id, attempt_id)
    select
        e.key, e.content, e.id, %(id)s,
        coalesce(e.attempt_id, (select a.id from billing_attempts a where a.unique_id = e.notification_id))
    from unchanged e
    on conflict (key) do nothing
    returning 1
)
select count(*) from kept;

-- to_prune --
-- The oldest confirmed archive whose rows may still be in their table. 0 or 1 row: id, kind, object_key, sha256, first_id, last_id.
select id, kind, object_key, sha256, first_id, last_id
from archives
where kind = %(kind)s and confirmed_at is not null and pruned_at is null
order by id
limit 1;

-- writers --
-- The transactions that are writing to the inbox now. One row.
select array(
    select locks.virtualtransaction
    from pg_locks locks
    where locks.locktype = 'relation'
        and locks.database = (select oid from pg_database where datname = current_database())
        and locks.relation = 'webhook_events'::regclass
        and locks.mode = 'RowExclusiveLock'
        and locks.granted
);

-- prune_notifications --
-- Delete up to %(limit)s archived rows after an id, with the count of their excess deliveries; what they add to the completeness report
-- is kept. Rows that are locked are skipped. Returns how many are gone and the last id, or null.
with due as (
    select e.id
    from webhook_events e
    where
        e.id > %(after)s and e.id <= %(to)s and e.state = 'processed'
        and (select k.archive_id from archived_notifications k where k.key = e.key and k.id = e.id) = %(id)s
    order by e.id
    limit %(limit)s
    for update skip locked
),
gone as (
    delete from webhook_events e using due where e.id = due.id returning e.id, e.listed_on, e.source, e.state, e.outcome
),
counted as (
    insert into row_count_changes (subject, word, count, amount)
    select 'webhook_events', 'processed', -count(*), 0 from gone having count(*) > 0
),
listed as (
    insert into archived_listings as l (listed_on, source, state, outcome, events)
    select listed_on, source, state, coalesce(outcome, ''), count(*)
    from gone
    where listed_on is not null
    group by listed_on, source, state, outcome
    on conflict (listed_on, source, state, outcome) do update set events = l.events + excluded.events
),
excess as (
    delete from excess_deliveries x using gone where x.webhook_event_id = gone.id returning x.deliveries
),
excess_counted as (
    insert into row_count_changes (subject, word, count, amount)
    select 'excess_deliveries', '', -count(*), -sum(deliveries) from excess having count(*) > 0
)
select count(*) as rows, max(id) as last_id from gone;

-- left_notifications --
-- Whether any row of an archive is still in the inbox. One row.
select exists (
    select from webhook_events e
    where
        e.id >= %(first_id)s and e.id <= %(last_id)s and e.state = 'processed'
        and (select k.archive_id from archived_notifications k where k.key = e.key and k.id = e.id) = %(id)s
);

-- prune_events --
-- Delete up to %(limit)s events after an id, up to and with another. Returns how many are gone and the last id, or null.
with gone as (
    delete from outbox
    where id in (
        select id from outbox where id > %(after)s and id <= %(to)s order by id limit %(limit)s for update skip locked
    )
    returning id
)
select count(*) as rows, max(id) as last_id from gone;

-- left_events --
-- Whether any event of an archive is still in the outbox. One row.
select exists (select from outbox where id >= %(first_id)s and id <= %(last_id)s and %(id)s::bigint is not null);

-- pruned --
-- Note that no row of an archive is left in its table.
update archives set pruned_at = %(now)s where id = %(id)s;

-- archived_to --
-- The last event that was archived and removed, 0 for none. One row.
select coalesce(max(last_id), 0) from archives where kind = 'events' and pruned_at is not null;

-- to_remove --
-- Archives whose own period is over and that are not removed, up to %(limit)s: id, object_key.
select id, object_key
from archives
where kind = %(kind)s and pruned_at is not null and removed_at is null and to_at < %(before)s
order by id
limit %(limit)s;

-- removed --
-- Note that the object of an archive was removed, unless it has another one since.
update archives set removed_at = %(now)s where id = %(id)s and object_key = %(object_key)s;

-- {archive_columns} --
-- An archive in lists.
id, kind, object_key, rows, size_bytes, encode(sha256, 'hex') as sha256, first_id, last_id, from_at, to_at, confirmed_at,
pruned_at, removed_at

-- listed --
-- Confirmed archives, newest first; of one kind, or of both where that is null. Up to %(limit)s rows.
select {archive_columns}
from archives
where confirmed_at is not null and (%(kind)s::text is null or kind = %(kind)s) and (%(before)s::bigint is null or id < %(before)s)
order by id desc
limit %(limit)s;

-- unconfirmed --
-- Archives that a worker began and has not confirmed, the newest first; of one kind, or of both where that is null. At most one of each kind. Rows:
-- id, kind, began_at.
select id, kind, began_at
from archives
where confirmed_at is null and (%(kind)s::text is null or kind = %(kind)s)
order by id desc;

-- by_id --
-- One confirmed archive. 0 or 1 row.
select {archive_columns} from archives where id = %(id)s and confirmed_at is not null;

-- holding --
-- The archives that may hold a row, the newest first.
select {archive_columns}
from archives
where kind = %(kind)s and confirmed_at is not null and first_id <= %(row_id)s and last_id >= %(row_id)s
order by id desc;

-- restore_notification --
-- Put an archived notification back into the inbox, due, under its own id. The gateway's record stays for a report record, which it is.
-- Returns its id, or no row when the key is not archived under it.
with released as (
    delete from archived_notifications k
    using json_populate_record(null::webhook_events, %(row)s::json) r
    where k.key = r.key and k.id = r.id
    returning k.id
)
insert into webhook_events (
    id, key, content, account, kind, notification_id, status, event, source, content_type, body, report_class, state, failures,
    attempt_id, listed_on, happened_at, confirmed_status, confirmed_error_code, confirmed_reason_code,
    confirmed_transaction_id, confirmed_at, relay_id, sender, received_at, next_at
)
overriding system value
select
    r.id, r.key, r.content, r.account, r.kind, r.notification_id, r.status, r.event, r.source, r.content_type, r.body,
    coalesce(r.report_class, ''), 'waiting', 0, r.attempt_id, null, r.happened_at,
    case when r.source = 'report' then r.confirmed_status end,
    case when r.source = 'report' then r.confirmed_error_code end,
    case when r.source = 'report' then r.confirmed_reason_code end,
    case when r.source = 'report' then r.confirmed_transaction_id end,
    case when r.source = 'report' then r.confirmed_at end,
    r.relay_id, r.sender, r.received_at, %(now)s
from json_populate_record(null::webhook_events, %(row)s::json) r
join released on released.id = r.id
returning id;
