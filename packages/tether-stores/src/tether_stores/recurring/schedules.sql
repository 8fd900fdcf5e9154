-- collection_schedules: debtors under a collection plan (tether_core.recurring.schedule).
--
-- A schedule is due at make_on. The transaction that makes its due items locks it, inserts them and advances next_number and make_on.

-- {schedule_columns} --
-- The columns of a schedule `s`.
s.id, s.collection_plan_id, s.debtor_id, s.mandate_id, s.amount_minor, s.first_due_on, s.last_due_on, s.next_number, s.make_on, s.state,
s.state_reason, s.created_by, s.created_at, s.updated_at

-- add --
-- Add active schedules. Arrays of length n. Returns id, debtor_id of those added; a debtor with a live schedule gets none.
insert into collection_schedules (
    collection_plan_id, debtor_id, mandate_id, amount_minor, first_due_on, last_due_on, make_on, state, created_by, created_at, updated_at
)
select
    %(collection_plan_id)s, given.debtor_id, given.mandate_id, given.amount_minor, %(first_due_on)s, %(last_due_on)s, %(make_on)s,
    'active', %(created_by)s, %(now)s, %(now)s
from unnest(%(debtor_ids)s::bigint[], %(mandate_ids)s::bigint[], %(amounts_minor)s::bigint[])
    as given (debtor_id, mandate_id, amount_minor)
order by given.debtor_id
on conflict do nothing
returning id, debtor_id;

-- candidates --
-- Debtors of an upload that may get a schedule, after one, in their order. Up to %(limit)s rows.
select
    d.id, d.iban, d.iban_fingerprint, d.amount_minor, d.currency, d.mandate_id, d.mandate_signed_on, d.verdict,
    exists (select from collection_schedules s where s.debtor_id = d.id and s.state <> 'ended') as has_schedule
from debtors d
where
    (d.upload_id, d.id) > (%(upload_id)s, %(after)s) and (d.upload_id, d.id) <= (%(upload_id)s, 9223372036854775807)
    and (%(debtor_id)s::bigint is null or d.id = %(debtor_id)s)
order by d.upload_id, d.id
limit %(limit)s;

-- {due_columns} --
-- What the clock decides by, and what a pre-notification says.
s.id, s.collection_plan_id, s.debtor_id, s.amount_minor, s.first_due_on, s.last_due_on, s.next_number, p.options, p.account,
d.upload_id, d.name, d.iban, d.currency, d.reference, m.reference as mandate

-- lock_due --
-- Lock up to %(limit)s schedules of active plans whose next due item is to be made; those another worker has locked are skipped.
select {due_columns}
from collection_schedules s
join collection_plans p on p.id = s.collection_plan_id
join debtors d on d.id = s.debtor_id
join mandates m on m.id = s.mandate_id
where s.state = 'active' and s.make_on <= %(today)s and p.state = 'active'
order by s.make_on, s.id
limit %(limit)s
for update of s skip locked;

-- for_notice --
-- A schedule with what a pre-notification says. 0 or 1 row.
select {due_columns}
from collection_schedules s
join collection_plans p on p.id = s.collection_plan_id
join debtors d on d.id = s.debtor_id
join mandates m on m.id = s.mandate_id
where s.id = %(id)s;

-- advance --
-- Write where schedules continue. Arrays of length n.
update collection_schedules s
set next_number = given.next_number, make_on = given.make_on, updated_at = %(now)s
from unnest(%(ids)s::bigint[], %(next_numbers)s::integer[], %(make_ons)s::date[]) as given (id, next_number, make_on)
where s.id = given.id;

-- by_id --
-- A schedule. 0 or 1 row.
select {schedule_columns} from collection_schedules s where s.id = %(id)s;

-- hold --
-- A schedule, locked for a change. 0 or 1 row.
select {schedule_columns} from collection_schedules s where s.id = %(id)s for update;

-- listed --
-- Schedules of a plan, newest first, before %(before_id)s, in %(state)s where it is not null. Up to %(limit)s rows.
select {schedule_columns}
from collection_schedules s
where
    s.collection_plan_id = %(collection_plan_id)s and (%(before_id)s::bigint is null or s.id < %(before_id)s)
    and (%(state)s::text is null or s.state = %(state)s)
order by s.id desc
limit %(limit)s;

-- of_debtors --
-- Which of n debtors have a live schedule. Returns debtor_id, id.
select debtor_id, id from collection_schedules where debtor_id = any(%(debtor_ids)s::bigint[]) and state <> 'ended';

-- of_mandates --
-- Lock the live schedules of n mandates.
select {schedule_columns}
from collection_schedules s
where s.mandate_id = any(%(mandate_ids)s::bigint[]) and s.state <> 'ended'
order by s.id
for update;

-- of_plan --
-- Lock up to %(limit)s live schedules of a plan.
select {schedule_columns}
from collection_schedules s
where s.collection_plan_id = %(collection_plan_id)s and s.state <> 'ended'
order by s.id
limit %(limit)s
for update;

-- change --
-- Write the new state of n schedules, inside the transaction that holds them.
update collection_schedules
set
    state = %(state)s, state_reason = %(state_reason)s, updated_at = %(now)s,
    make_on = case when %(state)s = 'ended' then null else make_on end
where id = any(%(ids)s::bigint[]);

-- completed --
-- Lock those of n active schedules that have neither a due date nor an open due item left.
select {schedule_columns}
from collection_schedules s
where
    s.id = any(%(ids)s::bigint[]) and s.state = 'active' and s.make_on is null
    and not exists (select from due_items i where i.schedule_id = s.id and i.state in ('waiting', 'missed'))
order by s.id
for update;
