-- erasures: orders to erase the personal data of a person (tether_core.erasures).
--
-- An order names debtors. A worker enters it in the list of erasures in the object store, erases the rows in one transaction
-- (erasures/rows.sql), then the files and archives, and notes that it is finished. What is in the way when it is ordered is answered to
-- the person; what comes in the way after that refuses the order.

-- debits --
-- All debits of some debtors, as `tether_core.erasures.Debit`.
select
    a.id as attempt_id, a.state, coalesce(a.submitted_at, a.created_at) as debited_at,
    (a.retry_on is not null and not a.is_retried and a.dispute_stage in (1, 3) and r.state is distinct from 'cancelled') as has_retry
from billing_attempts a
left join billing_runs r on r.id = a.run_id
where a.debtor_id = any(%(debtor_ids)s::bigint[])
order by a.id;

-- still_open --
-- What of some debtors is not over, as `tether_core.erasures.Open`. Debits are looked up as an array: joined with their refunds, Postgres
-- may read all of those.
with attempts as materialized (
    select array(select a.id from billing_attempts a where a.debtor_id = any(%(debtor_ids)s::bigint[])) as ids
),
files as materialized (
    select distinct d.upload_id as id from debtors d where d.id = any(%(debtor_ids)s::bigint[]) and d.upload_id is not null
)
select 'upload' as kind, u.id::text as id
from files
join uploads u on u.id = files.id
where u.state not in ('completed', 'failed', 'withdrawn')
union all
select 'run', r.id::text
from files
join billing_runs r on r.upload_id = files.id
where r.state in ('planning', 'canary', 'running', 'paused')
union all
select 'refund', f.id::text
from refunds f
where f.attempt_id = any((select ids from attempts)::bigint[]) and f.state in ('pending', 'unknown')
union all
select 'gateway_refund', ''
from gateway_refunds g
where g.attempt_id = any((select ids from attempts)::bigint[]) and g.state in ('reported', 'pending')
union all
select 'difference', l.id::text
from reconciliation_differences l
where l.attempt_id = any((select ids from attempts)::bigint[]) and l.resolved_at is null and l.acknowledged_at is null
union all
select 'schedule', s.id::text
from collection_schedules s
where s.debtor_id = any(%(debtor_ids)s::bigint[]) and s.state <> 'ended'
union all
select 'mandate', m.id::text
from mandates m
where m.debtor_id = any(%(debtor_ids)s::bigint[]) and m.state = 'active'
order by 1, 2;

-- amounts --
-- How much of some debtors there is to erase. One row per kind: what, count.
select 'debtors' as what, count(*) from debtors where id = any(%(debtor_ids)s::bigint[]) and erased_at is null
union all
select 'edits', count(*) from debtor_edits where debtor_id = any(%(debtor_ids)s::bigint[])
union all
select 'checks', count(*) from vop_checks where debtor_id = any(%(debtor_ids)s::bigint[])
union all
select 'mandates', count(*) from mandates where debtor_id = any(%(debtor_ids)s::bigint[])
union all
select 'pre_notifications', count(*) from pre_notifications where debtor_id = any(%(debtor_ids)s::bigint[])
union all
select 'notifications', count(*)
from billing_attempts a
join webhook_events e on e.notification_id = a.unique_id
where a.debtor_id = any(%(debtor_ids)s::bigint[])
union all
select 'archived_notifications', count(*)
from billing_attempts a
join archived_notifications k on k.attempt_id = a.id
where a.debtor_id = any(%(debtor_ids)s::bigint[])
union all
select 'files', count(*)
from uploads u
where
    u.file_removed_at is null
    and u.id in (select d.upload_id from debtors d where d.id = any(%(debtor_ids)s::bigint[]));

-- all_erased --
-- Whether the personal data of each of some debtors was erased. One row.
select not exists (select from debtors where id = any(%(debtor_ids)s::bigint[]) and erased_at is null);

-- {order_columns} --
-- An order, as `ErasureOrder`.
e.id, e.debtor_ids, e.reason, e.ordered_by, e.accepts_reversible, e.created_at, e.erased_at, e.finished_at, e.refused_at, e.refused_reason

-- add --
-- Order an erasure. Returns its id; no row where that entry of the list has an order.
insert into erasures (debtor_ids, stored_ats, reason, ordered_by, accepts_reversible, created_at, object_key)
select
    %(debtor_ids)s::bigint[],
    array(
        select d.created_at
        from unnest(%(debtor_ids)s::bigint[]) with ordinality as given (id, place)
        join debtors d on d.id = given.id
        order by given.place
    ),
    %(reason)s, %(ordered_by)s, %(accepts_reversible)s, %(now)s, %(object_key)s
on conflict (object_key) do nothing
returning id;

-- by_id --
-- One order. 0 or 1 row.
select {order_columns} from erasures e where e.id = %(id)s;

-- open_of --
-- The order of a debtor that is neither finished nor refused. 0 or 1 row.
select {order_columns}
from erasures e
where e.debtor_ids @> array[%(debtor_id)s::bigint] and e.finished_at is null and e.refused_at is null
order by e.id
limit 1;

-- latest_of --
-- The latest order of a debtor that was not refused. 0 or 1 row.
select {order_columns}
from erasures e
where e.debtor_ids @> array[%(debtor_id)s::bigint] and e.refused_at is null
order by e.id desc
limit 1;

-- listed --
-- Orders, newest first. Up to %(limit)s rows.
select {order_columns}
from erasures e
where %(before)s::bigint is null or e.id < %(before)s
order by e.id desc
limit %(limit)s;
