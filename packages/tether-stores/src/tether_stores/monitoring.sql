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
