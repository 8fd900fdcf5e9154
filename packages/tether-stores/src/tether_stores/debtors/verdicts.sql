-- Verdicts that change after screening.
--
-- `staging.sql` stores each row with its verdict: "clear", or the rule of screening that excludes it. Two things change a verdict
-- afterwards: what the whole file shows about rows of one account, and the answer of a person about rows that may repeat a debit.

-- shared_accounts --
-- The rows of an upload, without duplicates, whose account has several of them. Ordered by account and row. 0 to n rows:
-- iban_fingerprint, id, row_number, amount_minor, reference, mandate_id, customer_id, verdict.
with accounts as materialized (
    select iban_fingerprint
    from debtors
    where upload_id = %(upload_id)s and verdict <> 'duplicate_in_file'
    group by iban_fingerprint
    having count(*) > 1
)
select
    d.iban_fingerprint, d.id, d.row_number, d.amount_minor, d.reference, d.mandate_id, d.customer_id, d.verdict
from accounts a
cross join lateral (
    select *
    from debtors d
    where
        d.iban_fingerprint = a.iban_fingerprint and d.upload_id = %(upload_id)s and d.verdict <> 'duplicate_in_file'
    offset 0
) d
order by d.iban_fingerprint, d.row_number;

-- shared_accounts_dry_run --
-- The same of a dry run.
with accounts as materialized (
    select iban_fingerprint
    from dry_run_rows
    where upload_id = %(upload_id)s and verdict <> 'duplicate_in_file'
    group by iban_fingerprint
    having count(*) > 1
)
select
    r.iban_fingerprint, 0::bigint, r.row_number, r.amount_minor, r.reference, r.mandate_id, r.customer_id, r.verdict
from dry_run_rows r
join accounts a using (iban_fingerprint)
where r.upload_id = %(upload_id)s and r.verdict <> 'duplicate_in_file'
order by r.iban_fingerprint, r.row_number;

-- exclude --
-- Add a reason to n rows. It becomes the verdict of rows that had none, and with %(first)s of all.
-- Arrays of length n.
update debtors d
set
    verdict = case when d.verdict = 'clear' or %(first)s then given.rule else d.verdict end,
    cause = case when d.verdict = 'clear' or %(first)s then given.cause else d.cause end,
    reasons = case
        when %(first)s then given.reason || coalesce(d.reasons, '[]') else coalesce(d.reasons, '[]') || given.reason
    end
from unnest(%(ids)s::bigint[], %(rules)s::text[], %(causes)s::text[], %(reasons)s::jsonb[]) as given (id, rule, cause, reason)
where d.id = given.id;

-- exclude_dry_run_rows --
-- As `exclude` for rows of a dry run, by row number.
update dry_run_rows d
set
    verdict = case when d.verdict = 'clear' or %(first)s then given.rule else d.verdict end,
    reasons = case
        when %(first)s then given.reason || coalesce(d.reasons, '[]') else coalesce(d.reasons, '[]') || given.reason
    end
from unnest(%(rows)s::integer[], %(rules)s::text[], %(reasons)s::jsonb[]) as given (row_number, rule, reason)
where d.upload_id = %(upload_id)s and d.row_number = given.row_number;

-- {group_columns} --
-- A group of rows that a person is asked about.
r ->> 'rule' as rule, count(*) as count, sum(d.amount_minor)::bigint as amount_minor, (r ->> 'on')::date as on,
r ->> 'current_status' as current_status, (r ->> 'upload_id')::bigint as upload_id

-- question_groups --
-- The rows of an upload that a person has to decide about, counted. One row per group; day, status and upload_id of the existing
-- debits are null where the other row is of the same file.
select {group_columns}
from debtors d
cross join lateral jsonb_array_elements(d.reasons) r
where d.upload_id = %(upload_id)s and d.verdict = any(%(rules)s) and r ->> 'rule' = d.verdict
group by 1, 4, 5, 6
order by 1, 4, 5, 6;

-- question_groups_dry_run --
-- The same of a dry run.
select {group_columns}
from dry_run_rows d
cross join lateral jsonb_array_elements(d.reasons) r
where d.upload_id = %(upload_id)s and d.verdict = any(%(rules)s) and r ->> 'rule' = d.verdict
group by 1, 4, 5, 6
order by 1, 4, 5, 6;

-- take --
-- Set the verdict of up to %(limit)s rows that a person decided to take to "clear". A row that another answer excludes stays
-- excluded. Returns row_number, amount_minor, previous verdict.
with answered as (
    select d.id, d.verdict
    from debtors d
    where
        d.upload_id = %(upload_id)s and d.verdict <> 'clear' and d.taken_at is null and d.reasons is not null
        and exists (
            select from jsonb_array_elements(d.reasons) r where r ->> 'rule' = any(%(taken)s::text[])
        )
        and not exists (
            select from jsonb_array_elements(d.reasons) r where r ->> 'rule' = any(%(excluded)s::text[])
        )
    order by d.row_number
    limit %(limit)s
)
update debtors d
set
    taken_at = %(screened_at)s,
    verdict = case when answered.verdict = any(%(taken)s::text[]) then 'clear' else d.verdict end,
    cause = case when answered.verdict = any(%(taken)s::text[]) then null else d.cause end,
    reasons = case when answered.verdict = any(%(taken)s::text[]) then null else d.reasons end
from answered
where d.id = answered.id
returning d.row_number, d.amount_minor, answered.verdict;
