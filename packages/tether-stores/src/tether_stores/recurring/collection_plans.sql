-- collection_plans: what a series of debits may do (tether_core.recurring.collection_plan).
--
-- Work on the due items of a plan takes the plan's advisory lock (class 2) first, so that its caps of a day hold with any number of workers.
-- Claims and orders lock the plan's row in share mode, and pausing locks it exclusively: once a pause is committed, nothing of the plan is
-- ordered or submitted.

-- {plan_columns} --
-- The columns of a plan.
id, name, account, options, state, state_reason, created_by, created_at, updated_at

-- add --
-- Add an active plan. Returns id; no row where the account has a plan of that name.
insert into collection_plans (name, account, options, state, created_by, created_at, updated_at)
values (%(name)s, %(account)s, %(options)s, 'active', %(created_by)s, %(now)s, %(now)s)
on conflict (account, name) do nothing
returning id;

-- by_id --
-- A plan. 0 or 1 row.
select {plan_columns} from collection_plans where id = %(id)s;

-- hold --
-- A plan, locked for a change. 0 or 1 row.
select {plan_columns} from collection_plans where id = %(id)s for update;

-- share --
-- A plan, locked in share mode, so that it cannot be paused until this transaction ends. 0 or 1 row.
select {plan_columns} from collection_plans where id = %(id)s for share;

-- lock --
-- Wait until no other transaction works on the due items of a plan; until this transaction ends.
select pg_advisory_xact_lock(2, (%(id)s %% 2147483647)::integer);

-- listed --
-- Plans, newest first, before %(before_id)s, in %(state)s and of %(account)s where these are not null. Up to %(limit)s rows.
select {plan_columns}
from collection_plans
where
    (%(before_id)s::bigint is null or id < %(before_id)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(account)s::text is null or account = %(account)s)
order by id desc
limit %(limit)s;

-- active --
-- The active plans.
select {plan_columns} from collection_plans where state = 'active' order by id;

-- change --
-- Write the new state or options of a plan, inside the transaction that holds it.
update collection_plans
set state = %(state)s, state_reason = %(state_reason)s, options = %(options)s, updated_at = %(now)s
where id = %(id)s;

-- counts --
-- The live schedules of a plan, and their money at a due date. One row.
select count(*), coalesce(sum(amount_minor), 0)::bigint
from collection_schedules
where collection_plan_id = %(id)s and state <> 'ended';

-- groups --
-- The active schedules of a plan by their dates. Returns first_on, next_number, last_on, count, amount_minor.
select first_due_on as first_on, next_number, last_due_on as last_on, count(*) as count, sum(amount_minor)::bigint as amount_minor
from collection_schedules
where collection_plan_id = %(id)s and state = 'active' and make_on is not null
group by 1, 2, 3;

-- waiting --
-- Due items of a plan that wait to be collected, by the day of it, or by the due date while that is open. Returns day, count,
-- amount_minor.
select coalesce(collect_on, due_on) as day_on, count(*), sum(amount_minor)::bigint
from due_items
where collection_plan_id = %(id)s and state = 'waiting'
group by 1;

-- people --
-- Who answers for what a plan collects with a run, as tether_web names callers: who added, resumed or enrolled debtors to the plan, and who
-- resumed schedules or recovered due items of the run, from the audit. One row per person.
select distinct
    case
        when acted.actor_kind = 'user' then 'user:' || acted.actor_id
        when acted.actor_kind = 'api_key' then coalesce(k.owner, 'environment:' || acted.actor)
        else 'command:' || acted.actor
    end as owner
from (
    select actor_kind, actor_id, actor
    from audit
    where
        subject = 'collection_plan' and subject_id = %(id)s::text
        and action in ('collection_plan.added', 'collection_plan.enrolled', 'collection_plan.resumed')
    union
    select a.actor_kind, a.actor_id, a.actor
    from due_items i
    join audit a on a.subject = 'schedule' and a.subject_id = i.schedule_id::text and a.action = 'schedule.resumed'
    where i.run_id = %(run_id)s
    union
    select a.actor_kind, a.actor_id, a.actor
    from due_items i
    join audit a on a.subject = 'due_item' and a.subject_id = i.id::text and a.action = 'due_item.recovered'
    where i.run_id = %(run_id)s
) acted
left join api_keys k on acted.actor_kind = 'api_key' and k.id = acted.actor_id;
