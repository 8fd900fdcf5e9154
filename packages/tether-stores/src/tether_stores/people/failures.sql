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
-- Remove the counters of a user after a complete sign-in, and take the user's tries back from the address: an office signs in from one.
with
user_and_address as (
    delete from sign_in_failures
    where counter = 'user_and_address' and subject_digest = %(user_and_address_digest)s
    returning failures
),

from_anywhere as (
    delete from sign_in_failures where counter = 'user' and subject_digest = %(user_digest)s
)

update sign_in_failures
set failures = greatest(sign_in_failures.failures - user_and_address.failures, 0)
from user_and_address
where sign_in_failures.counter = 'address' and sign_in_failures.subject_digest = %(address_digest)s;

-- forgive --
-- Take back one try.
update sign_in_failures
set failures = failures - 1
where failures > 0 and (counter, subject_digest) in (select * from unnest(%(counters)s::text[], %(digests)s::bytea[]));

-- prune --
-- Remove up to %(limit)s counters that did not move since %(reset_before)s.
delete from sign_in_failures
where (counter, subject_digest) in (
    select counter, subject_digest from sign_in_failures where failed_at < %(reset_before)s
    limit %(limit)s for update skip locked
);
