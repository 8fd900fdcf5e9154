-- monitoring: what only metrics read. Counts that the work itself needs stand beside their tables.
--
-- Every web node reads these at every scrape, so each reads some hundreds of rows at most, by an index.

-- runs --
-- The newest %(newest)s billing runs by state. One row per state that occurs: state, count.
select state, count(*)
from (select state from billing_runs order by id desc limit %(newest)s) newest
group by state;

-- uploads --
-- The newest %(newest)s uploads by state, and for how many seconds the oldest in it has been in it. One row per state that occurs.
select state, count(*), coalesce(extract(epoch from %(now)s - min(updated_at)), 0)::double precision
from (select state, updated_at from uploads order by id desc limit %(newest)s) newest
group by state;

-- reports --
-- Report fetches of the days since %(since_on)s, by account and list: items that the gateway lists and we do not hold, and the seconds since
-- the latest reading to its end began (null for none).
select
    account, list as name, sum(greatest(listed - held, unread, 0))::bigint as unexplained,
    extract(epoch from %(now)s - max(read_at))::double precision as read_age_s
from report_fetches
where day_on >= %(since_on)s
group by account, list
order by account, list;

-- awaiting_release --
-- Of the newest %(newest)s billing runs, those that wait for a second person. One row: how many.
select count(*)::integer
from (select awaits_release from billing_runs order by id desc limit %(newest)s) newest
where awaits_release;

-- subscribers --
-- Subscribers by state, and for how many seconds one of them has failed without a success (0 for none). One row per state that occurs.
select state, count(*)::integer, coalesce(extract(epoch from %(now)s - min(failing_since_at)), 0)::double precision
from subscribers
where state <> 'removed'
group by state;

-- late --
-- What recurring collection should have done before %(today)s, at most %(newest)s of each; a paused plan is late with nothing. Four rows:
-- step, count. make: due dates without a due item; order: due items without a debit; recover: missed due items, which wait for a person;
-- notify: pre-notifications that were not given to their debtors by their last day.
select 'make' as step, count(*)::integer
from (
    select from collection_schedules s
    join collection_plans p on p.id = s.collection_plan_id and p.state = 'active'
    where s.state = 'active' and s.make_on < %(today)s
    limit %(newest)s
) late
union all
select 'order', count(*)::integer
from (
    select from due_items i
    join collection_plans p on p.id = i.collection_plan_id and p.state = 'active'
    where i.state = 'waiting' and i.collect_on < %(today)s
    limit %(newest)s
) late
union all
select 'recover', count(*)::integer
from (select from due_items where state = 'missed' limit %(newest)s) late
union all
select 'notify', count(*)::integer
from (select from pre_notifications where state = 'made' and give_on < %(today)s limit %(newest)s) late;

-- archives --
-- For how many seconds the oldest archive has waited for its next step, 0 for none. Two rows: step, age. confirm: it was begun, and was not
-- read back; prune: it was confirmed, and rows of it are still in their table.
select 'confirm' as step, coalesce(extract(epoch from %(now)s - min(began_at)), 0)::double precision
from archives
where confirmed_at is null
union all
select 'prune', coalesce(extract(epoch from %(now)s - min(confirmed_at)), 0)::double precision
from archives
where confirmed_at is not null and pruned_at is null;
