-- blacklist: IBANs, names, e-mail addresses and banks that must not be debited.
--
-- An entry is about one of the four. At most one entry per subject and reason is active. An entry is lifted by a person or
-- expires; it is never deleted. `blacklist_disputes` links entries to the disputes they were made for, so that the next report of a
-- dispute does not repeat an entry that a person has lifted. `forgiven_disputes` has what a lift forgives; screening and planning
-- ignore these chargebacks. IBANs are matched by fingerprint (docs/decisions/0008), names and addresses in normalized form.

-- add --
-- Insert n entries that do not exist. Arrays of length n; of equal ones the first counts. An expired entry becomes active again.
-- Returns iban_fingerprint and reason_code of those that are new.
insert into blacklist (
    iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by,
    webhook_event_id, attempt_id, policy_version, created_at
)
select distinct on (given.iban_fingerprint, given.reason_code)
    given.iban_fingerprint, given.iban_masked, given.action, given.scope, given.reason_code, '', 'chargeback', 'tether',
    given.webhook_event_id, given.attempt_id, given.policy_version, %(now)s
from unnest(
    %(fingerprints)b::bytea[], %(maskeds)b::text[], %(actions)b::text[], %(scopes)b::text[],
    %(reason_codes)b::text[], %(webhook_event_ids)b::bigint[], %(attempt_ids)b::bigint[], %(policy_versions)b::integer[]
) with ordinality as given (
    iban_fingerprint, iban_masked, action, scope, reason_code, webhook_event_id, attempt_id, policy_version, position
)
order by given.iban_fingerprint, given.reason_code, given.position
on conflict (iban_fingerprint, reason_code) where lifted_at is null do update
set
    action = excluded.action, expires_at = null, source = excluded.source, added_by = excluded.added_by,
    webhook_event_id = excluded.webhook_event_id, attempt_id = excluded.attempt_id, policy_version = excluded.policy_version,
    created_at = excluded.created_at
where blacklist.expires_at <= %(now)s
returning iban_fingerprint, reason_code;

-- disputes_of --
-- The disputes of n attempts that have entries: attempt_id, dispute_stage, dispute_id, and whether a person has lifted the entry.
-- 0 to n rows.
select d.attempt_id, d.dispute_stage, nullif(d.dispute_id, ''),
    b.lifted_at is not null and (b.lifted_by, b.lifted_reason) not in (('tether', 'expired'), ('tether', 'merged'))
from blacklist_disputes d
join blacklist b on b.id = d.blacklist_id
where d.attempt_id = any(%(attempt_ids)b::bigint[]);

-- link --
-- Link active entries to their disputes. Arrays of length n.
insert into blacklist_disputes (blacklist_id, attempt_id, dispute_stage, dispute_id)
select distinct b.id, given.attempt_id, given.dispute_stage, given.dispute_id
from unnest(
    %(fingerprints)b::bytea[], %(reason_codes)b::text[], %(attempt_ids)b::bigint[], %(dispute_stages)b::smallint[],
    %(dispute_ids)b::text[]
) as given (iban_fingerprint, reason_code, attempt_id, dispute_stage, dispute_id)
join blacklist b
    on b.iban_fingerprint = given.iban_fingerprint and b.reason_code = given.reason_code and b.lifted_at is null
order by given.attempt_id
on conflict do nothing;

-- link_imported --
-- Link active entries to imported attempts that are charged back, by transaction id. Arrays of length n.
insert into blacklist_disputes (blacklist_id, attempt_id, dispute_stage)
select b.id, a.id, a.dispute_stage
from unnest(%(transaction_ids)b::text[], %(reason_codes)b::text[]) as given (transaction_id, reason_code)
join billing_attempts a on a.transaction_id = given.transaction_id
join blacklist b
    on b.iban_fingerprint = a.iban_fingerprint and b.reason_code = given.reason_code and b.lifted_at is null
where a.dispute_stage in (1, 3)
order by a.id
on conflict do nothing;

-- expire --
-- Lift the expired entries about the same subjects, so that new ones can be made. Arrays as for `enter`. Each kind of subject is looked up by its
-- own index: with an "or" of all four Postgres may read the whole table.
with same as (
    select found.id
    from unnest(
        %(fingerprints)b::bytea[], %(name_keys)b::text[], %(emails)b::text[], %(bics)b::text[], %(reason_codes)b::text[]
    ) as given (iban_fingerprint, name_key, email, bic, reason_code)
    cross join lateral (
        select id from blacklist
        where iban_fingerprint = given.iban_fingerprint and reason_code = given.reason_code and lifted_at is null
        union all
        select id from blacklist where name_key = given.name_key and reason_code = given.reason_code and lifted_at is null
        union all
        select id from blacklist where email = given.email and reason_code = given.reason_code and lifted_at is null
        union all
        select id from blacklist where bic = given.bic and reason_code = given.reason_code and lifted_at is null
    ) found
)
update blacklist b
set lifted_at = b.expires_at, lifted_by = 'tether', lifted_reason = 'expired'
from same
where b.id = same.id and b.lifted_at is null and b.expires_at <= %(now)s;

-- enter --
-- Insert n entries that no chargeback caused and that do not exist. Arrays of length n; exactly one of fingerprint, name, e-mail address
-- and BIC is not null. Returns id and position (from 1) of those that are new: 0 to n rows.
with given as (
    select *
    from unnest(
        %(fingerprints)b::bytea[], %(maskeds)b::text[], %(names)b::text[], %(name_keys)b::text[], %(emails)b::text[],
        %(bics)b::text[], %(actions)b::text[], %(scopes)b::text[], %(reason_codes)b::text[], %(notes)b::text[], %(expires_ats)b::timestamptz[],
        %(policy_versions)b::integer[]
    ) with ordinality as t (
        iban_fingerprint, iban_masked, name, name_key, email, bic, action, scope, reason_code, note, expires_at, policy_version, position
    )
),
added as (
    insert into blacklist (
        iban_fingerprint, iban_masked, name, name_key, email, bic, action, scope, reason_code, note, source, added_by,
        created_at, expires_at, policy_version
    )
    select
        iban_fingerprint, iban_masked, name, name_key, email, bic, action, scope, reason_code, note, %(source)s, %(added_by)s,
        %(now)s, expires_at, policy_version
    from given
    order by iban_fingerprint, name_key, email, bic, reason_code, position
    on conflict do nothing
    returning id, iban_fingerprint, name_key, email, bic, reason_code
)
select a.id, min(t.position)
from added a
join given t
    on t.reason_code = a.reason_code
    and (t.iban_fingerprint = a.iban_fingerprint or t.name_key = a.name_key or t.email = a.email or t.bic = a.bic)
group by a.id
order by 2;

-- lifted_among --
-- All entries ever about the subjects and reasons of n entries, in the order in which they were made; locked, so that none is
-- lifted meanwhile. Arrays as for `enter`. Returns position (from 1), lifted_at, lifted_by, lifted_reason.
select given.position, b.lifted_at, b.lifted_by, b.lifted_reason
from unnest(
    %(fingerprints)b::bytea[], %(name_keys)b::text[], %(emails)b::text[], %(bics)b::text[], %(reason_codes)b::text[]
) with ordinality as given (iban_fingerprint, name_key, email, bic, reason_code, position)
cross join lateral (
    select id from blacklist where iban_fingerprint = given.iban_fingerprint and reason_code = given.reason_code
    union all
    select id from blacklist where name_key = given.name_key and reason_code = given.reason_code
    union all
    select id from blacklist where email = given.email and reason_code = given.reason_code
    union all
    select id from blacklist where bic = given.bic and reason_code = given.reason_code
) found
join blacklist b on b.id = found.id
order by b.id
for update of b;

-- lock_disputed --
-- Lock the attempts that the lift of an entry affects: those whose disputes it was made for, and with %(account)s every charged
-- back attempt of its account. Applying another report of such a dispute locks its attempt too, so it happens before the lift or
-- after it. Returns their ids.
select a.id
from billing_attempts a
where a.id in (
    select d.attempt_id from blacklist_disputes d where d.blacklist_id = %(id)s
    union
    select c.id
    from blacklist b
    join billing_attempts c on c.iban_fingerprint = b.iban_fingerprint
    where %(account)s and b.id = %(id)s and c.dispute_stage in (1, 3)
)
order by a.id
for update;

-- lift --
-- Lift an entry. Returns its id, or no row when it is not active.
update blacklist
set lifted_at = %(now)s, lifted_by = %(lifted_by)s, lifted_reason = %(reason)s, forgives = %(forgives)s
where id = %(id)s and lifted_at is null
returning id;

-- widen --
-- Let a lifted entry forgive more. Returns its id, or no row when it forgives that already.
update blacklist
set forgives = %(forgives)s
where id = %(id)s and lifted_at is not null and forgives is distinct from %(forgives)s and coalesce(forgives, '') <> 'account'
returning id;

-- forgive --
-- Forgive the disputes of an entry and, with %(account)s, all chargebacks of its account. Returns attempt_id of those newly
-- forgiven.
insert into forgiven_disputes (attempt_id, dispute_stage, blacklist_id, forgiven_at, forgiven_by, reason)
select given.attempt_id, given.dispute_stage, %(id)s, %(now)s, %(forgiven_by)s, %(reason)s
from (
    select d.attempt_id, d.dispute_stage from blacklist_disputes d where d.blacklist_id = %(id)s
    union
    select c.id, c.dispute_stage
    from blacklist b
    join billing_attempts c on c.iban_fingerprint = b.iban_fingerprint
    where %(account)s and b.id = %(id)s and c.dispute_stage in (1, 3)
) given
order by given.attempt_id
on conflict do nothing
returning attempt_id;

-- remaining --
-- What still excludes the account of an entry: the number of chargebacks that are not forgiven, and the ids of its active entries.
-- One row.
select
    (
        select count(*)
        from billing_attempts a
        where
            a.iban_fingerprint = b.iban_fingerprint and a.dispute_stage in (1, 3)
            and not exists (
                select from forgiven_disputes f
                where f.attempt_id = a.id and f.dispute_stage = a.dispute_stage
            )
    ) as unforgiven,
    array(
        select other.id
        from blacklist other
        where
            other.iban_fingerprint = b.iban_fingerprint and other.lifted_at is null
            and (other.expires_at is null or other.expires_at > %(now)s)
        order by other.id
    ) as entries
from blacklist b
where b.id = %(id)s;

-- {entry_columns} --
-- An entry for people.
id, iban_masked, name, email, bic, action, scope, reason_code, note, source, added_by, webhook_event_id, attempt_id,
created_at, expires_at, lifted_at, lifted_by, lifted_reason, encode(iban_fingerprint, 'hex') as iban_fingerprint, forgives,
policy_version

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select {entry_columns}
from (
    -- The columns have few values, so each combination is read from its own index range: no filter reads rows that another
    -- discards. Written as ranges: with equalities Postgres may scan all entries by id. Whether an expiring entry is active depends
    -- on the time, so only those are compared with it.
    select found.*
    from unnest(
        case when %(action)s::text is null then '{hold,block}' else array[%(action)s::text] end
    ) as actions (action)
    cross join unnest(
        case when %(source)s::text is null then '{chargeback,manual,import,automatic}' else array[%(source)s::text] end
    ) as sources (source)
    cross join unnest(
        case
            when %(live)s::boolean is null then '{lifted,ends,stays}'::text[]
            when %(live)s::boolean then '{ends,stays}' else '{lifted,ends}'
        end
    ) as ways (way)
    cross join lateral (
        (
            select *
            from blacklist b
            where
                %(reason_code)s::text is null
                and (b.action, b.source, (case when b.lifted_at is not null then 'lifted' when b.expires_at is not null then 'ends' else 'stays' end), b.id)
                    > (actions.action, sources.source, ways.way, 0)
                and (b.action, b.source, (case when b.lifted_at is not null then 'lifted' when b.expires_at is not null then 'ends' else 'stays' end), b.id)
                    < (actions.action, sources.source, ways.way, coalesce(%(before)s::bigint, 9223372036854775807))
                and (
                    %(live)s::boolean is null or ways.way <> 'ends'
                    or %(live)s = (b.expires_at > %(now)s)
                )
            order by
                b.action desc, b.source desc,
                (case when b.lifted_at is not null then 'lifted' when b.expires_at is not null then 'ends' else 'stays' end) desc, b.id desc
            limit %(limit)s
        )
        union all
        (
            select *
            from blacklist b
            where
                %(reason_code)s::text is not null
                and (b.reason_code, b.action, b.source, (case when b.lifted_at is not null then 'lifted' when b.expires_at is not null then 'ends' else 'stays' end), b.id)
                    > (%(reason_code)s, actions.action, sources.source, ways.way, 0)
                and (b.reason_code, b.action, b.source, (case when b.lifted_at is not null then 'lifted' when b.expires_at is not null then 'ends' else 'stays' end), b.id)
                    < (%(reason_code)s, actions.action, sources.source, ways.way, coalesce(%(before)s::bigint, 9223372036854775807))
                and (
                    %(live)s::boolean is null or ways.way <> 'ends'
                    or %(live)s = (b.expires_at > %(now)s)
                )
            order by
                b.reason_code desc, b.action desc, b.source desc,
                (case when b.lifted_at is not null then 'lifted' when b.expires_at is not null then 'ends' else 'stays' end) desc, b.id desc
            limit %(limit)s
        )
    ) found
    where
        %(fingerprint)s::bytea is null and %(name_key)s::text is null and %(email)s::text is null and %(bic)s::text is null
    union all
    select b.*
    from blacklist b
    where
        (
            %(fingerprint)s::bytea is not null or %(name_key)s::text is not null or %(email)s::text is not null
            or %(bic)s::text is not null
        )
        and (%(fingerprint)s::bytea is null or b.iban_fingerprint = %(fingerprint)s)
        and (%(name_key)s::text is null or b.name_key = %(name_key)s)
        and (%(email)s::text is null or b.email = %(email)s)
        and (%(bic)s::text is null or b.bic = %(bic)s)
        and (%(before)s::bigint is null or b.id < %(before)s)
        and (
            %(live)s::boolean is null
            or %(live)s = (b.lifted_at is null and (b.expires_at is null or b.expires_at > %(now)s))
        )
        and (%(action)s::text is null or b.action = %(action)s)
        and (%(source)s::text is null or b.source = %(source)s)
        and (%(reason_code)s::text is null or b.reason_code = %(reason_code)s)
) entries
order by id desc
limit %(limit)s;

-- by_id --
-- One entry. 0 or 1 row.
select {entry_columns}
from blacklist
where id = %(id)s;

-- of_debtor --
-- The entries about a debtor: its account, now or before an edit, its name and e-mail address in any of the given forms, and its bank. Each kind of subject is
-- looked up by its own index. Active ones first, then the newest. Up to %(limit)s rows.
select {entry_columns}
from blacklist
where id in (
    select b.id
    from (
        select d.iban_fingerprint from debtors d where d.id = %(debtor_id)s
        union
        select e.iban_fingerprint_before from debtor_edits e
        where e.debtor_id = %(debtor_id)s and e.iban_fingerprint_before is not null
    ) owned
    join blacklist b on b.iban_fingerprint = owned.iban_fingerprint
    union
    select b.id from blacklist b where b.name_key = any(%(name_keys)s::text[])
    union
    select b.id from blacklist b where b.email = any(%(emails)s::text[])
    union
    select b.id from blacklist b where b.bic = any(%(bics)s::text[])
)
order by (lifted_at is null and (expires_at is null or expires_at > %(now)s)) desc, id desc
limit %(limit)s;

-- active_entry --
-- The active entry about a subject for a reason. 0 or 1 row: its id.
select id
from blacklist
where
    lifted_at is null
    and reason_code = %(reason_code)s
    and (
        iban_fingerprint = %(fingerprint)s or name_key = %(name_key)s or email = %(email)s or bic = %(bic)s
    );

-- banks_listed --
-- The active entries about banks, "block" before "hold", the oldest first. One row each: bic, action, reason_code.
select bic, action, reason_code
from blacklist
where bic is not null and lifted_at is null and (expires_at is null or expires_at > %(now)s)
order by action, id;

-- banks_judged --
-- The entries about banks, ever, that a return rate caused. One row a bank: bic, whether one is active, when the latest one that is over
-- ended or null.
select
    bic,
    bool_or(lifted_at is null and (expires_at is null or expires_at > %(now)s)) as is_active,
    max(least(coalesce(lifted_at, expires_at), expires_at)) filter (
        where lifted_at is not null or expires_at <= %(now)s
    ) as ended_at
from blacklist
where bic is not null and reason_code = %(reason_code)s and source = 'automatic'
group by bic;

-- names_any --
-- Whether any name or e-mail address is on the blacklist. One row.
select exists (select from blacklist where name_key is not null and lifted_at is null)
    or exists (select from blacklist where email is not null and lifted_at is null);

-- names_among --
-- Which of n names and m e-mail addresses are on the blacklist now. One row for each: kind ("name" or "email"), value.
select 'name', name_key
from blacklist
where
    name_key = any(%(name_keys)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s)
union
select 'email', email
from blacklist
where email = any(%(emails)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s);

-- names_listed --
-- The active entries about n names and m e-mail addresses, "block" before "hold". One row each: kind ("name" or "email"),
-- value, action, reason_code, id.
select 'name', name_key, action, reason_code, id
from blacklist
where
    name_key = any(%(name_keys)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s)
union all
select 'email', email, action, reason_code, id
from blacklist
where
    email = any(%(emails)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s)
order by action, id;
