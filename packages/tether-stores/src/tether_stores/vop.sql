-- vop_checks: the check of each debtor's account, one row per debtor once it was requested.
--
-- A row waits until a worker takes a lease on it, asks a provider outside of any transaction, and writes the answers with
-- their score. A provider that is away leaves the row waiting: an outage is no answer.

-- request --
-- Request checks for the debtors of an upload that may be billed and have none. Returns how many were requested.
with wanted as (
    insert into vop_checks (debtor_id, state, next_at, requested_at)
    select d.id, 'waiting', %(now)s, %(now)s
    from debtors d
    where d.upload_id = %(upload_id)s and d.verdict = 'clear'
    order by d.id
    on conflict (debtor_id) do nothing
    returning 1
)
select count(*) from wanted;

-- request_again --
-- Request new checks for the debtors of an upload that are checked or parked. Returns how many.
with wanted as (
    update vop_checks v
    set state = 'waiting', failures = 0, next_at = %(now)s, requested_at = %(now)s
    from debtors d
    where d.id = v.debtor_id and d.upload_id = %(upload_id)s and v.state in ('checked', 'parked')
    returning 1
)
select count(*) from wanted;

-- forget --
-- Forget the check of a debtor who was edited; what a worker asks just now is answered in vain. Returns the debtor, or no row.
delete from vop_checks where debtor_id = %(debtor_id)s returning debtor_id;

-- request_one --
-- Ask for the check of one debtor that may be billed, where it had one (%(had_one)s) or others of its upload have.
insert into vop_checks (debtor_id, state, next_at, requested_at)
select d.id, 'waiting', %(now)s, %(now)s
from debtors d
where
    d.id = %(debtor_id)s and d.verdict = 'clear'
    and (
        %(had_one)s
        or exists (
            select from (select o.id from debtors o where o.upload_id = d.upload_id order by o.id limit 1000) o
            join vop_checks v on v.debtor_id = o.id
        )
    )
on conflict (debtor_id) do nothing;

-- claim --
-- Take a lease on up to %(limit)s checks that are due, oldest first.
with due as (
    select debtor_id
    from vop_checks
    where state = 'waiting' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
    order by next_at, debtor_id
    limit %(limit)s
    for update skip locked
)
update vop_checks v
set leased_until = %(leased_until)s
from due, debtors d
where v.debtor_id = due.debtor_id and d.id = due.debtor_id
returning v.debtor_id, d.iban, d.name, v.failures;

-- checked --
-- Write the answers of n checks. Arrays of length n. Rows whose lease another worker has are not changed.
update vop_checks v
set
    state = 'checked', next_at = null, leased_until = null, failures = 0, checked_at = %(now)s,
    provider = %(provider)s, iban_answer = given.iban_answer, bank_answer = given.bank_answer,
    debit_answer = given.debit_answer, country_answer = given.country_answer, name_answer = given.name_answer,
    name_percent = given.name_percent, bank_name = given.bank_name, bic = given.bic, score = given.score,
    answered = given.answered, result = given.result
from unnest(
    %(debtor_ids)s::bigint[], %(iban_answers)s::text[], %(bank_answers)s::text[], %(debit_answers)s::text[],
    %(country_answers)s::text[], %(name_answers)s::text[], %(name_percents)s::smallint[], %(bank_names)s::text[],
    %(bics)s::text[], %(scores)s::smallint[], %(answereds)s::smallint[], %(results)s::text[]
) as given (
    debtor_id, iban_answer, bank_answer, debit_answer, country_answer, name_answer, name_percent, bank_name, bic, score,
    answered, result
)
where v.debtor_id = given.debtor_id and v.state = 'waiting' and v.leased_until = %(leased_until)s;

-- deferred --
-- Let n checks wait on, or park them where next_at is null. Arrays of length n.
update vop_checks v
set
    state = case when given.next_at is null then 'parked' else 'waiting' end, failures = given.failures,
    next_at = given.next_at, leased_until = null
from unnest(%(debtor_ids)s::bigint[], %(failures)s::smallint[], %(next_ats)s::timestamptz[])
    as given (debtor_id, failures, next_at)
where v.debtor_id = given.debtor_id and v.state = 'waiting' and v.leased_until = %(leased_until)s;

-- due --
-- Whether any check is due and nobody has it. One row.
select exists (
    select from vop_checks
    where state = 'waiting' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
);

-- counts --
-- The checks of an upload: debtors by state and result; those without a check have neither.
select v.state, v.result, count(*)
from debtors d
left join vop_checks v on v.debtor_id = d.id
where d.upload_id = %(upload_id)s
group by v.state, v.result
order by v.state, v.result;

-- listed --
-- One page of an upload's checks for people, in the order of debtors. Up to %(limit)s rows.
select
    v.debtor_id, v.state, v.provider, v.score, v.answered, v.result, v.iban_answer as iban, v.bank_answer as bank,
    v.debit_answer as debit, v.country_answer as country, v.name_answer as name, v.bank_name, v.bic, v.requested_at, v.checked_at
from debtors d
cross join lateral (select * from vop_checks v where v.debtor_id = d.id offset 0) v
where
    -- Said as a range, so that the upload is walked along its own index and no further than the page needs.
    (d.upload_id, d.id) > (%(upload_id)s, %(after)s) and (d.upload_id, d.id) <= (%(upload_id)s, 9223372036854775807)
    and (%(result)s::text is null or v.result = %(result)s)
order by d.upload_id, d.id
limit %(limit)s;

-- scores --
-- The scores of some debtors that were checked; debtors without a result are excluded.
select debtor_id, score, answered, result from vop_checks where debtor_id = any(%(debtor_ids)s) and result is not null;
