-- sign_in_failures: failed sign-ins that are counted (tether_core.people.sign_in).
--
-- A row is one counter. A try is counted before it is checked, so that many tries at once are counted, too; a complete sign-in removes the
-- counters of the user. A row that did not move for a day is removed, some at each try.

-- held --
-- The counters of a try, locked.
select counter, failures, failed_at
from sign_in_failures
where (counter, subject_digest) in (select * from unnest(%(counters)s::text[], %(digests)s::bytea[]))
order by counter
for update;

-- count --
-- Count a try. A counter that did not move since %(reset_before)s begins anew.
insert into sign_in_failures (counter, subject_digest, failures, failed_at)
select counter, subject_digest, 1, %(now)s from unnest(%(counters)s::text[], %(digests)s::bytea[]) as t (counter, subject_digest)
order by counter
on conflict (counter, subject_digest) do update
set
    failures = case when sign_in_failures.failed_at < %(reset_before)s then 1 else sign_in_failures.failures + 1 end,
    failed_at = greatest(sign_in_failures.failed_at, excluded.failed_at);

-- clear --
-- Remove counters after a complete sign-in.
delete from sign_in_failures
where (counter, subject_digest) in (select * from unnest(%(counters)s::text[], %(digests)s::bytea[]));

-- prune --
-- Remove up to %(limit)s counters that did not move since %(reset_before)s.
delete from sign_in_failures
where (counter, subject_digest) in (
    select counter, subject_digest from sign_in_failures where failed_at < %(reset_before)s
    limit %(limit)s for update skip locked
);
