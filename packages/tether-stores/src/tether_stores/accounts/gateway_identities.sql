-- gateway_identities: the identities of calls, and submissions whose outcome only one identity can confirm (tether_core.payments.not_found).
--
-- A row is written by the transaction that claims the first call to it, or when it is configured, and stays. The key is a digest of address, login
-- and terminal; the name holds no secret. Submissions name keys in submitted_to: of a debit in billing_attempts, of a
-- refund or void in refunds. Payment stage 10 is an unknown outcome.

-- record --
-- Store the identity of a call.
insert into gateway_identities (key, account, name, first_used_at)
values (%(key)s, %(account)s, %(name)s, %(now)s)
on conflict do nothing;

-- record_configured --
-- Note that n identities are configured on a day. Arrays of length n. A row changes once a day at most.
insert into gateway_identities as i (key, account, name, first_used_at, last_known_on)
select given.key, given.account, given.name, %(now)s, %(today)s
from unnest(%(keys)s::text[], %(accounts)s::text[], %(names)s::text[]) as given (key, account, name)
order by given.account, given.key
on conflict (account, key) do update
set last_known_on = excluded.last_known_on
where i.last_known_on is null or i.last_known_on < excluded.last_known_on;

-- recent --
-- The identities that accounts had since a day. Returns account, key.
select account, key
from gateway_identities
where account = any(%(accounts)s) and coalesce(last_known_on, first_used_at::date) >= %(since)s;

-- open_calls --
-- The identities that submissions without a final result went to and that are not configured, and those of accounts that are not: %(keys)s
-- and %(accounts)s are. One row an account and identity: account, key, its name or null, how many submissions (%(count_max)s at
-- most of one set of identities), since when. Reads the places of open submissions by jumps through an index, then the
-- entries of those places alone, so that it costs nothing where all is configured, however many are open.
with recursive debit_places as (
    (
        select a.account, a.submitted_to
        from billing_attempts a
        where a.payment_stage in (10, 20, 30) and a.dispute_stage = 0 and a.submitted_to is not null
        order by a.account, a.submitted_to
        limit 1
    )
    union all
    select other.account, other.submitted_to
    from debit_places place
    cross join lateral (
        select a.account, a.submitted_to
        from billing_attempts a
        where
            a.payment_stage in (10, 20, 30) and a.dispute_stage = 0 and a.submitted_to is not null
            and (a.account, a.submitted_to) > (place.account, place.submitted_to)
        order by a.account, a.submitted_to
        limit 1
    ) other
),

refund_places as (
    (
        select g.account, g.submitted_to
        from refunds g
        where g.payment_stage in (10, 20, 30) and g.submitted_to is not null
        order by g.account, g.submitted_to
        limit 1
    )
    union all
    select other.account, other.submitted_to
    from refund_places place
    cross join lateral (
        select g.account, g.submitted_to
        from refunds g
        where
            g.payment_stage in (10, 20, 30) and g.submitted_to is not null
            and (g.account, g.submitted_to) > (place.account, place.submitted_to)
        order by g.account, g.submitted_to
        limit 1
    ) other
),

given as (
    select place.account, place.submitted_to, open.count, open.since_at
    from debit_places place
    cross join lateral (
        select count(*), min(first.submitted_at) as since_at
        from (
            select a.submitted_at
            from billing_attempts a
            where
                a.payment_stage in (10, 20, 30) and a.dispute_stage = 0 and a.submitted_to is not null
                and a.account = place.account and a.submitted_to = place.submitted_to
            order by a.submitted_at
            limit %(count_max)s
        ) first
    ) open
    where place.account <> all(%(accounts)s) or not array_remove(place.submitted_to, '*') <@ %(keys)s::text[]
    union all
    select place.account, place.submitted_to, open.count, open.since_at
    from refund_places place
    cross join lateral (
        select count(*), min(first.submitted_at) as since_at
        from (
            select g.submitted_at
            from refunds g
            where
                g.payment_stage in (10, 20, 30) and g.submitted_to is not null
                and g.account = place.account and g.submitted_to = place.submitted_to
            order by g.submitted_at
            limit %(count_max)s
        ) first
    ) open
    where place.account <> all(%(accounts)s) or not array_remove(place.submitted_to, '*') <@ %(keys)s::text[]
    union all
    -- Calls that are under way.
    select a.account, a.submitted_to, 1, a.submitted_at
    from billing_attempts a
    where a.leased_until is not null and a.payment_stage = 0 and a.submitted_to is not null
    union all
    select g.account, g.submitted_to, 1, g.submitted_at
    from refunds g
    where g.leased_until is not null and g.payment_stage = 0 and g.submitted_to is not null
)

select given.account, one.key, i.name, sum(given.count)::bigint as count, min(given.since_at) as since_at
from given
cross join unnest(given.submitted_to) as one (key)
left join gateway_identities i on i.key = one.key and i.account = given.account
where given.account <> all(%(accounts)s) or (one.key <> '*' and one.key <> all(%(keys)s))
group by given.account, one.key, i.name
order by given.account, one.key;

-- open_by_account --
-- Submissions without a final result, one row an account that has any: account, how many (%(count_max)s debits and as many orders at most),
-- and since when the oldest of these. Imported ones were submitted by another system and are not counted.
select given.account, sum(given.count)::bigint as count, min(given.since_at) as since_at
from (
    select wanted.account, open.count, open.since_at
    from unnest(%(accounts)s::text[]) as wanted (account)
    cross join lateral (
        select count(*), min(first.submitted_at) as since_at
        from (
            select a.submitted_at
            from billing_attempts a
            where
                a.payment_stage in (10, 20, 30) and a.dispute_stage = 0 and a.submitted_to is not null
                and a.account = wanted.account
            order by a.account, a.submitted_to, a.submitted_at
            limit %(count_max)s
        ) first
    ) open
    union all
    select wanted.account, open.count, open.since_at
    from unnest(%(accounts)s::text[]) as wanted (account)
    cross join lateral (
        select count(*), min(first.submitted_at) as since_at
        from (
            select g.submitted_at
            from refunds g
            where g.payment_stage in (10, 20, 30) and g.submitted_to is not null and g.account = wanted.account
            order by g.account, g.submitted_to, g.submitted_at
            limit %(count_max)s
        ) first
    ) open
) given
where given.count > 0
group by given.account
order by given.account;

-- unresolved --
-- Submissions of unknown outcome about which "not found" does not count, oldest first. Up to %(limit)s rows: kind, id, the
-- debit's id, account, transaction_id, since when, and the names of the identities they went to, with their keys
-- where no name is stored.
select given.kind, given.id, given.attempt_id, given.account, given.transaction_id, given.since_at, (
    select coalesce(array_agg(coalesce(i.name, one.key) order by one.number), '{}')
    from unnest(given.submitted_to) with ordinality as one (key, number)
    left join gateway_identities i on i.key = one.key and i.account = given.account
)
from (
    select
        'debit' as kind, a.id, a.id as attempt_id, a.account, a.transaction_id, coalesce(a.submitted_at, a.created_at) as since_at,
        coalesce(a.submitted_to, '{?}') as submitted_to
    from billing_attempts a
    where
        a.payment_stage = 10 and a.dispute_stage = 0 and a.submit_at is null
        and a.unresolved_reason = 'not_found_elsewhere'
    union all
    select
        g.kind, g.id, g.attempt_id, g.account, g.transaction_id, coalesce(g.submitted_at, g.created_at),
        coalesce(g.submitted_to, '{?}')
    from refunds g
    where g.payment_stage = 10 and g.submit_at is null and g.unresolved_reason = 'not_found_elsewhere'
) given
order by given.since_at, given.id
limit %(limit)s;

-- counts --
-- Submissions of unknown outcome by why the latest inquiry did not resolve them ('' for none yet). One row a reason.
select given.reason, count(*)
from (
    select coalesce(a.unresolved_reason, '') as reason
    from billing_attempts a
    where a.payment_stage = 10 and a.dispute_stage = 0 and a.submit_at is null
    union all
    select coalesce(g.unresolved_reason, '')
    from refunds g
    where g.payment_stage = 10 and g.submit_at is null
) given
group by given.reason
order by given.reason;

-- wake_debits --
-- Make debits due for an inquiry whose gateway identities have all become askable since the latest one. Each is
-- woken once: the reason goes, and comes back with the next answer where it still holds.
update billing_attempts
set inquire_at = %(now)s, unresolved_reason = null
where
    payment_stage = 10 and dispute_stage = 0 and inquire_at > %(now)s and unresolved_reason = 'not_found_elsewhere'
    and array_remove(submitted_to, '*') <@ %(configured)s::text[];

-- wake_refunds --
-- The same for refunds and voids.
update refunds
set inquire_at = %(now)s, unresolved_reason = null
where
    payment_stage = 10 and inquire_at > %(now)s and unresolved_reason = 'not_found_elsewhere'
    and array_remove(submitted_to, '*') <@ %(configured)s::text[];
