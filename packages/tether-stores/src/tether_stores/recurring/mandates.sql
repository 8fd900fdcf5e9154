-- mandates: what debtors have signed (tether_core.recurring.mandate).
--
-- A reference is unique among the active mandates of a gateway account. A mandate is for the account that its debtor had when it was added,
-- or amended; that the account was changed since is found in debtor_edits.

-- {mandate_columns} --
-- The columns of a mandate `m`.
m.id, m.account, m.debtor_id, m.reference, m.kind, m.state, m.iban_masked, m.signed_on, m.last_used_on, m.uses, m.ended_at,
m.ended_reason, m.created_by, m.created_at, m.updated_at

-- {was_account_changed} --
-- Whether the account of the debtor of the mandate `m` was changed since.
exists (
    select from debtor_edits e
    where e.debtor_id = m.debtor_id and e.iban_fingerprint_before is not null and e.edited_at > m.account_since_at
)

-- add --
-- Add active mandates. Arrays of length n. Returns id, debtor_id of those added; a reference that is in use adds none.
insert into mandates (
    account, debtor_id, reference, reference_key, kind, state, iban_masked, signed_on, account_since_at, created_by, created_at, updated_at
)
select
    %(account)s, given.debtor_id, given.reference, given.reference_key, %(kind)s, 'active', given.iban_masked, given.signed_on,
    %(now)s, %(created_by)s, %(now)s, %(now)s
from unnest(
    %(debtor_ids)s::bigint[], %(references)s::text[], %(reference_keys)s::text[], %(maskeds)s::text[], %(signed_ons)s::date[]
) as given (debtor_id, reference, reference_key, iban_masked, signed_on)
order by given.reference_key
on conflict do nothing
returning id, debtor_id;

-- active_by_key --
-- The active mandates of an account among n references. Returns reference_key, id, kind, the fingerprint of the account it is for, or null
-- where its debtor's account was changed since.
select
    m.reference_key, m.id, m.kind,
    case
        when not {was_account_changed} then md.iban_fingerprint
    end as iban_fingerprint
from mandates m
join debtors md on md.id = m.debtor_id
where m.account = %(account)s and m.state = 'active' and m.reference_key = any(%(reference_keys)s::text[]);

-- any_ended --
-- Whether any mandate was ended. One row.
select exists (select from mandates where state <> 'active');

-- ended_of --
-- The ended mandates of n bank accounts whose references are in use by no active one. Returns iban_fingerprint, reference_key, state, ended_at;
-- the latest end of a reference comes last.
with accounts as materialized (
    select distinct given.iban_fingerprint from unnest(%(fingerprints)s::bytea[]) as given (iban_fingerprint)
)
select a.iban_fingerprint, m.reference_key, m.state, m.ended_at
from accounts a
cross join lateral (select d.id from debtors d where d.iban_fingerprint = a.iban_fingerprint offset 0) d
cross join lateral (
    select m.account, m.reference_key, m.state, m.ended_at from mandates m where m.debtor_id = d.id and m.state <> 'active' offset 0
) m
where
    (
        select true from mandates again
        where again.account = m.account and again.reference_key = m.reference_key and again.state = 'active'
        limit 1  -- looked up by the index, however many mandates there are
    ) is null
order by m.ended_at;

-- any_one_off --
-- Whether any active mandate is for one debit. One row.
select exists (select from mandates where kind = 'one_off' and state = 'active');

-- one_off_of --
-- The active mandates for one debit of n bank accounts. Returns iban_fingerprint, reference_key.
with accounts as materialized (
    select distinct given.iban_fingerprint from unnest(%(fingerprints)s::bytea[]) as given (iban_fingerprint)
)
select a.iban_fingerprint, m.reference_key
from accounts a
cross join lateral (select d.id from debtors d where d.iban_fingerprint = a.iban_fingerprint offset 0) d
cross join lateral (
    select m.reference_key from mandates m where m.debtor_id = d.id and m.kind = 'one_off' and m.state = 'active' offset 0
) m;

-- by_id --
-- A mandate, and whether its debtor's account was changed since. 0 or 1 row.
select {mandate_columns},
    {was_account_changed} as is_of_other_account
from mandates m
where m.id = %(id)s;

-- hold --
-- A mandate, locked for a change. 0 or 1 row.
select {mandate_columns},
    {was_account_changed} as is_of_other_account
from mandates m
where m.id = %(id)s
for update of m;

-- of_debtor --
-- The mandates of a debtor, newest first.
select {mandate_columns},
    {was_account_changed} as is_of_other_account
from mandates m
where m.debtor_id = %(debtor_id)s
order by m.id desc;

-- listed --
-- Mandates, newest first, before %(before_id)s, of %(account)s where it is not null. Up to %(limit)s rows.
select {mandate_columns}, false as is_of_other_account
from mandates m
where
    (%(before_id)s::bigint is null or m.id < %(before_id)s) and (%(account)s::text is null or m.account = %(account)s)
order by m.id desc
limit %(limit)s;

-- listed_of_debtor --
-- Mandates of a debtor, newest first, before %(before_id)s, of %(account)s where it is not null. Up to %(limit)s rows.
select {mandate_columns}, false as is_of_other_account
from mandates m
where
    m.debtor_id = %(debtor_id)s and (%(before_id)s::bigint is null or m.id < %(before_id)s)
    and (%(account)s::text is null or m.account = %(account)s)
order by m.id desc
limit %(limit)s;

-- change --
-- Write the end of n mandates.
update mandates
set state = %(state)s, ended_at = %(now)s, ended_reason = %(reason)s, updated_at = %(now)s
where id = any(%(ids)s::bigint[]) and state = 'active';

-- amend --
-- A mandate is for the present account of its debtor from now on.
update mandates
set signed_on = %(signed_on)s, iban_masked = %(iban_masked)s, account_since_at = %(now)s, updated_at = %(now)s
where id = %(id)s and state = 'active';

-- order --
-- Count due items that were ordered with mandates. An array of length n: one mandate each.
update mandates m
set uses = m.uses + given.count, updated_at = %(now)s
from (
    select mandate_id, count(*)::integer as count from unnest(%(mandate_ids)s::bigint[]) as named (mandate_id) group by 1
) given
where m.id = given.mandate_id;

-- unorder --
-- Stop counting due items whose debits n attempts were that no call has submitted. To be called before the due items lose their run.
update mandates m
set uses = greatest(m.uses - given.count, 0), updated_at = %(now)s
from (
    select s.mandate_id, count(*)::integer as count
    from billing_attempts a
    join due_items i on i.run_id = a.run_id and i.debtor_id = a.debtor_id
    join collection_schedules s on s.id = i.schedule_id
    where a.id = any(%(attempt_ids)s::bigint[]) and a.retry_of is null and i.state = 'ordered'
    group by s.mandate_id
) given
where m.id = given.mandate_id;

-- use --
-- Note the day on which debits are submitted with n mandates.
update mandates
set last_used_on = %(used_on)s, updated_at = %(now)s
where id = any(%(mandate_ids)s::bigint[]) and (last_used_on is null or last_used_on < %(used_on)s);

-- of_attempts --
-- Under which mandates debits were made. Returns account, mandate_id of its schedule or null, reference in the debtor's row or null, and
-- the fingerprint of the account.
select a.account, s.mandate_id, d.mandate_id as reference, a.iban_fingerprint
from billing_attempts a
join debtors d on d.id = a.debtor_id
left join due_items i on i.run_id = a.run_id and i.debtor_id = a.debtor_id
left join collection_schedules s on s.id = i.schedule_id
where a.id = any(%(attempt_ids)s::bigint[]);

-- lock_active --
-- Lock active mandates: n by id, and those of n accounts with the same reference. Returns id, debtor_id.
with named as (
    select given.id from unnest(%(ids)s::bigint[]) as given (id)
    union
    select m.id
    from unnest(%(accounts)s::text[], %(reference_keys)s::text[], %(fingerprints)s::bytea[])
        as given (account, reference_key, iban_fingerprint)
    join mandates m on m.account = given.account and m.reference_key = given.reference_key and m.state = 'active'
    join debtors md on md.id = m.debtor_id and md.iban_fingerprint = given.iban_fingerprint
)
select m.id, m.debtor_id
from mandates m
join named on named.id = m.id
where m.state = 'active'
order by m.id
for update of m;
