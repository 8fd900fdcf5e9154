-- Totals of an upload over all of its billing runs: what its debtors owe, and what became of their debits.

-- owed --
-- The debtors that may be billed, and those of them without any debit. One row per currency.
select
    d.currency, count(*) as debtors, sum(d.amount_minor)::bigint as owed_minor,
    count(*) filter (where not billed.was) as unbilled, coalesce(sum(d.amount_minor) filter (where not billed.was), 0)::bigint as unbilled_minor
from debtors d
cross join lateral (
    select exists (select from billing_attempts a where a.debtor_id = d.id and a.submission_count > 0) as was
) billed
where d.upload_id = %(upload_id)s and d.verdict = 'clear'
group by d.currency
order by d.currency;

-- debits --
-- The debits of all runs by currency and state, with how many debtors they are of. One row per currency and state.
select
    a.currency, a.state, count(*) as debits, sum(a.amount_minor)::bigint as amount_minor, count(distinct a.debtor_id) as debtors
from billing_runs r
join billing_attempts a on a.run_id = r.id
where r.upload_id = %(upload_id)s
group by a.currency, a.state
order by a.currency, a.state;

-- runs --
-- The runs by state. One row per state.
select state, count(*) as count from billing_runs where upload_id = %(upload_id)s group by state order by state;
