-- vop_checks: the check of each debtor's account, one row per debtor once it was requested.
--
-- A row waits until a worker takes a lease on it, asks a provider outside of any transaction, and writes the answers with
-- their score. A provider that is away leaves the row waiting: an outage is no answer. So does a used-up budget (vop_uses). An answer that another
-- debtor's check got about the same account and name is taken over, and a bank in vop_banks that rests is not asked about.

-- request --
-- Request checks for the debtors of an upload that may be billed and have none, or for a share of them: always the same ones. Returns how many were
-- requested.
with wanted as (
    insert into vop_checks (debtor_id, state, next_at, requested_at, account)
    select d.id, 'waiting', %(now)s, %(now)s, %(account)s
    from debtors d
    where
        d.upload_id = %(upload_id)s and d.verdict = 'clear'
        and (hashtextextended(d.id::text, 7) & 1048575) < %(share)s::double precision * 1048576
    order by d.id
    on conflict (debtor_id) do nothing
    returning 1
)
select count(*) from wanted;

-- request_again --
-- Request new checks for the debtors of an upload that are checked or parked. Returns how many.
with wanted as (
    update vop_checks v
    set state = 'waiting', failures = 0, next_at = %(now)s, requested_at = %(now)s, account = %(account)s, is_fresh = true
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
insert into vop_checks (debtor_id, state, next_at, requested_at, account)
select
    d.id, 'waiting', %(now)s, %(now)s,
    coalesce(
        (
            select v.account
            from (select o.id from debtors o where o.upload_id = d.upload_id order by o.id limit 1000) o
            join vop_checks v on v.debtor_id = o.id
            limit 1
        ),
        'default'
    )
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
returning v.debtor_id, d.iban, d.name, v.failures, v.account, v.is_fresh, d.iban_fingerprint, d.bank_bic as bank;

-- reusable --
-- The latest answers of other debtors' checks about the accounts of n checks, by a provider, since %(since)s; the caller compares the names. Arrays of
-- length n. Up to 20 rows for each.
select
    given.debtor_id as for_debtor_id, found.debtor_id, found.name, found.iban_answer, found.bank_answer, found.debit_answer,
    found.country_answer, found.name_answer, found.name_percent, found.bank_name, found.bic
from unnest(%(debtor_ids)s::bigint[], %(fingerprints)s::bytea[]) as given (debtor_id, fingerprint)
cross join lateral (
    select
        v.debtor_id, d.name, v.iban_answer, v.bank_answer, v.debit_answer, v.country_answer, v.name_answer, v.name_percent, v.bank_name,
        v.bic, v.checked_at
    from debtors d
    join vop_checks v on v.debtor_id = d.id
    where
        d.iban_fingerprint = given.fingerprint and d.id <> given.debtor_id and v.state = 'checked' and v.provider = %(provider)s
        and v.reused_from is null and v.checked_at >= %(since)s
    order by v.checked_at desc
    limit 20
) found
order by given.debtor_id, found.checked_at desc;

-- calls --
-- Lock the day of an account, so that two workers cannot grant the same calls. One row: account, day_calls, month_calls.
with day as (
    insert into vop_uses (account, used_on, calls)
    values (%(account)s, %(on)s, 0)
    on conflict (account, used_on) do update set calls = vop_uses.calls
    returning calls
)
select
    %(account)s::text as account, day.calls as day_calls,
    day.calls + coalesce(
        (
            select sum(u.calls)
            from vop_uses u
            where u.account = %(account)s and u.used_on >= date_trunc('month', %(on)s::date) and u.used_on < %(on)s
        ),
        0
    )::bigint as month_calls
from day;

-- spend --
-- Count calls of an account on a day that `calls` has locked.
update vop_uses set calls = calls + %(count)s where account = %(account)s and used_on = %(on)s;

-- spent --
-- Calls of each account on a day and in its month. One row for each account that had any: account, day_calls, month_calls.
select
    account, coalesce(sum(calls) filter (where used_on = %(on)s), 0)::bigint as day_calls, sum(calls)::bigint as month_calls
from vop_uses
where used_on >= date_trunc('month', %(on)s::date) and used_on <= %(on)s
group by account
order by account;

-- resting --
-- Banks that rest. 0 or more rows: bank, rest_until.
select bank, rest_until from vop_banks where rest_until > %(now)s order by bank;

-- bank_answers --
-- Add the answers about names by bank: one answer ends the row of those that were not answered. Arrays of length n: banks, each once; whether any name of
-- it was answered; how many were not.
insert into vop_banks as b (bank, unanswered_in_row, asked_at, rest_until)
select
    given.bank, case when given.is_answered then 0 else given.unanswered end, %(now)s,
    case when not given.is_answered and given.unanswered >= %(unanswered_max)s then %(rest_until)s::timestamptz end
from unnest(%(banks)s::text[], %(are_answered)s::boolean[], %(unanswered)s::integer[]) as given (bank, is_answered, unanswered)
order by given.bank
on conflict (bank) do update set
    unanswered_in_row = case when excluded.unanswered_in_row = 0 then 0 else b.unanswered_in_row + excluded.unanswered_in_row end,
    asked_at = excluded.asked_at,
    rest_until = case
        when excluded.unanswered_in_row > 0 and b.unanswered_in_row + excluded.unanswered_in_row >= %(unanswered_max)s
        then %(rest_until)s::timestamptz
    end;

-- report --
-- The finished checks of an upload by bank and by what was answered about the name. One row for each: bank, name_answer, count, reused, bank_name.
select
    d.bank_bic as bank, v.name_answer, count(*) as count, count(v.reused_from) as reused, max(v.bank_name) as bank_name
from debtors d
join vop_checks v on v.debtor_id = d.id
where d.upload_id = %(upload_id)s and v.state = 'checked'
group by d.bank_bic, v.name_answer
order by count(*) desc, d.bank_bic, v.name_answer;

-- checked --
-- Write the answers of n checks. Arrays of length n. Rows whose lease another worker has are not changed.
update vop_checks v
set
    state = 'checked', next_at = null, leased_until = null, failures = 0, checked_at = %(now)s,
    provider = given.provider, reused_from = given.reused_from, is_fresh = false, iban_answer = given.iban_answer, bank_answer = given.bank_answer,
    debit_answer = given.debit_answer, country_answer = given.country_answer, name_answer = given.name_answer,
    name_percent = given.name_percent, bank_name = given.bank_name, bic = given.bic, score = given.score,
    answered = given.answered, result = given.result
from unnest(
    %(debtor_ids)s::bigint[], %(iban_answers)s::text[], %(bank_answers)s::text[], %(debit_answers)s::text[],
    %(country_answers)s::text[], %(name_answers)s::text[], %(name_percents)s::smallint[], %(bank_names)s::text[],
    %(bics)s::text[], %(scores)s::smallint[], %(answereds)s::smallint[], %(results)s::text[], %(providers)s::text[],
    %(reused_from)s::bigint[]
) as given (
    debtor_id, iban_answer, bank_answer, debit_answer, country_answer, name_answer, name_percent, bank_name, bic, score,
    answered, result, provider, reused_from
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

-- {check_columns} --
-- A check `v` for people.
v.debtor_id, v.state, v.provider, v.score, v.answered, v.result, v.iban_answer as iban, v.bank_answer as bank,
v.debit_answer as debit, v.country_answer as country, v.name_answer as name, v.bank_name, v.bic, v.requested_at, v.checked_at

-- of_debtor --
-- The check of a debtor. 0 or 1 row.
select {check_columns} from vop_checks v where v.debtor_id = %(debtor_id)s;

-- listed --
-- One page of an upload's checks for people, in the order of debtors. Filters that are null do not filter. Up to %(limit)s rows.
select {check_columns}
from debtors d
cross join lateral (select * from vop_checks v where v.debtor_id = d.id offset 0) v
where
    -- Said as a range, so that the upload is walked along its own index and no further than the page needs.
    (d.upload_id, d.id) > (%(upload_id)s, %(after)s) and (d.upload_id, d.id) <= (%(upload_id)s, 9223372036854775807)
    and (%(result)s::text is null or v.result = %(result)s)
    and (%(state)s::text is null or v.state = %(state)s)
order by d.upload_id, d.id
limit %(limit)s;

-- {everywhere} --
-- The beginning of a list of the checks of all uploads, which the filter follows that it leads with: each reads an index from the newest debtor after the
-- cursor, and examines %(examined_max)s checks at most. It returns up to %(limit)s rows: a check, whether it fits all filters, and its place among the examined.
-- One that does not fit is returned at the last place only: the next page continues after it.
select {check_columns}, d.upload_id, v.account, v.fits, v.place
from (
    select *
    from (
        select
            c.*,
            row_number() over (order by c.debtor_id desc) as place,
            (
                (%(result)s::text is null or c.result = %(result)s) and (%(state)s::text is null or c.state = %(state)s)
            ) is true as fits
        from (
            select *
            from vop_checks
            where

-- {newest_debtor_first} --
-- The end of such a list.
                and (%(before)s::bigint is null or debtor_id < %(before)s)
            order by debtor_id desc
            limit %(examined_max)s
        ) c
    ) examined
    where fits or place = %(examined_max)s
    order by debtor_id desc
    limit %(limit)s
) v
join debtors d on d.id = v.debtor_id
order by v.debtor_id desc

-- newest --
-- The checks of all uploads.
{everywhere} true
{newest_debtor_first};

-- by_state --
-- The checks of all uploads in a state.
{everywhere} state = %(state)s
{newest_debtor_first};

-- by_result --
-- The checks of all uploads with a result.
{everywhere} result = %(result)s
{newest_debtor_first};

-- scores --
-- The scores of some debtors that were checked; debtors without a result are excluded.
select debtor_id, score, answered, result from vop_checks where debtor_id = any(%(debtor_ids)s) and result is not null;
