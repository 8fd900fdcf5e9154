-- Rows of an upload on their way to debtors.
--
-- Rows are written in chunks. The columns needed for screening are copied into `staged_debtors`, a temporary table without an index
-- that exists for one transaction; `screen` and `related` look up what is stored about its accounts. Then the whole rows are copied
-- into the table with their verdicts: COPY writes a page at a time, an insert writes and logs row by row. Rows that screening
-- excludes are stored too, with the rule and its cause, to show why a person was not debited.
--
-- Rows are written in the order of their fingerprints. The index on fingerprints grows in random places, and in this order
-- neighbours share a page of it: with ten million debtors a chunk costs hardly more than with none.

-- guard --
-- No JIT: these queries are short, and compiling takes longer than running them. A chunk is sorted in memory, where it is in order
-- already, instead of hashed. No bitmap scans: an account has one or two rows in an index. Without bitmaps, sequential scans must be
-- off as well, so that a table without statistics is not read whole.
select
    set_config('jit', 'off', true), set_config('work_mem', '32MB', true), set_config('enable_hashagg', 'off', true),
    set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true);

-- stage --
-- Create the staging table of this transaction.
create temporary table staged_debtors (
    iban_fingerprint bytea not null,
    row_number integer not null,
    amount_minor bigint not null,
    reference text,
    mandate_id text,
    customer_id text,
    name text not null,
    email text
) on commit drop;

-- stage_rows --
-- Input: lines with the columns of `stage` that {columns} names, in that order.
copy staged_debtors ({columns}) from stdin with (format text, null e'\x01');

-- screen --
-- Blacklist entries and chargebacks of the accounts of staged rows. 0 to n rows: the strictest active entry ("hold" or "block") and
-- whether a debit was charged back; rows without either are excluded. Each account is looked up once. "offset 0" keeps the
-- subqueries as index lookups per account: a plan that reads whole tables would read ten million rows for each chunk.
with accounts as materialized (
    select iban_fingerprint from staged_debtors group by iban_fingerprint order by iban_fingerprint
),
listed as (
    select distinct on (b.iban_fingerprint) b.iban_fingerprint, b.action, b.reason_code, b.note
    from accounts a
    cross join lateral (
        select b.iban_fingerprint, b.action, b.reason_code, b.note, b.id
        from blacklist b
        where
            b.iban_fingerprint = a.iban_fingerprint
            and b.lifted_at is null
            and (b.expires_at is null or b.expires_at > %(now)s)
        offset 0
    ) b
    order by b.iban_fingerprint, b.action = 'hold', b.id
),
charged_back as (
    select a.iban_fingerprint
    from accounts a
    cross join lateral (
        select t.id, t.state, t.dispute_stage
        from billing_attempts t
        where t.iban_fingerprint = a.iban_fingerprint
        offset 0
    ) t
    left join forgiven_disputes f on f.attempt_id = t.id and f.dispute_stage = t.dispute_stage
    where t.state = 'chargebacked' and f.attempt_id is null
    group by a.iban_fingerprint
),
touched as (
    select iban_fingerprint from listed
    union
    select iban_fingerprint from charged_back
)
select
    s.row_number as row, s.amount_minor, b.action as listed, b.reason_code as listed_reason_code, b.note as listed_note,
    cb.iban_fingerprint is not null as charged_back
from touched
join staged_debtors s using (iban_fingerprint)
left join listed b on b.iban_fingerprint = s.iban_fingerprint
left join charged_back cb on cb.iban_fingerprint = s.iban_fingerprint;

-- related --
-- The staged rows of accounts that have another row or debit, and those rows and debits. Ordered by account. 0 to n rows:
-- 0 iban_fingerprint
-- 1 kind: "staged", "file" for an earlier row of this file, "elsewhere" for a row or debit of another upload
-- 2 row_number, 3 amount_minor, 4 reference, 5 mandate_id, 6 customer_id
-- 7 time, 8 state of its debit, "forgiven" if its chargeback was forgiven, null without a debit; 9 upload_id
-- A row of another upload counts from %(since)s on while it may still be billed. For a debit that was never submitted the row counts
-- instead. Where the row of the debtor %(edited)s is staged alone, neither its stored row nor rows that repeat others count.
with accounts as materialized (
    select iban_fingerprint, count(*) as rows from staged_debtors group by iban_fingerprint order by iban_fingerprint
),
tried as materialized (
    select a.iban_fingerprint, t.amount_minor, t.at, t.state, t.debtor_id
    from accounts a
    cross join lateral (
        select
            t.amount_minor, coalesce(t.submitted_at, t.created_at) as at, t.debtor_id,
            case
                when exists (
                    select from forgiven_disputes f where f.attempt_id = t.id and f.dispute_stage = t.dispute_stage
                ) then 'forgiven'
                else t.state
            end as state
        from billing_attempts t
        where
            t.iban_fingerprint = a.iban_fingerprint and t.not_submitted_reason is null
            and (t.run_id is null or t.submission_count > 0 or t.payment_stage > 10 or t.dispute_stage > 0)
        offset 0
    ) t
),
taken_in as materialized (
    select a.iban_fingerprint, d.*
    from accounts a
    cross join lateral (
        select d.id, d.upload_id, d.row_number, d.amount_minor, d.reference, d.mandate_id, d.customer_id, d.created_at
        from debtors d
        where
            d.iban_fingerprint = a.iban_fingerprint
            and (%(edited)s::bigint is null or (d.id <> %(edited)s and d.verdict <> 'duplicate_in_file'))
            and (
                d.upload_id = %(upload_id)s
                or (
                    d.verdict = 'clear' and d.created_at >= %(since)s
                    and not exists (select from uploads u where u.id = d.upload_id and u.state = 'withdrawn')
                )
            )
        offset 0
    ) d
    union all
    select
        r.iban_fingerprint, 0, r.upload_id, r.row_number, r.amount_minor, r.reference, r.mandate_id, r.customer_id, %(now)s
    from accounts a
    join dry_run_rows r on r.iban_fingerprint = a.iban_fingerprint and r.upload_id = %(upload_id)s
    where %(dry_run)s
),
touched as materialized (
    select iban_fingerprint from accounts where rows > 1
    union
    select iban_fingerprint from taken_in
    union
    select iban_fingerprint from tried
)
select
    s.iban_fingerprint, 'staged' as kind, s.row_number, s.amount_minor, s.reference, s.mandate_id, s.customer_id,
    null::timestamptz, null::text, null::bigint
from touched
join staged_debtors s using (iban_fingerprint)
union all
select
    iban_fingerprint, 'file', row_number, amount_minor, reference, mandate_id, customer_id, created_at, null, upload_id
from taken_in
where upload_id = %(upload_id)s
union all
select
    d.iban_fingerprint, 'elsewhere', d.row_number, d.amount_minor, d.reference, d.mandate_id, d.customer_id, d.created_at,
    null, d.upload_id
from taken_in d
where d.upload_id is distinct from %(upload_id)s and not exists (select from tried t where t.debtor_id = d.id)
union all
select
    t.iban_fingerprint, 'elsewhere', d.row_number, t.amount_minor, d.reference, d.mandate_id, d.customer_id, t.at,
    t.state, d.upload_id
from tried t
join debtors d on d.id = t.debtor_id
where d.upload_id is distinct from %(upload_id)s
order by 1;

-- names_staged --
-- Row number, amount, name and e-mail address of every staged row; run only while names or addresses are on the blacklist.
select row_number, amount_minor, name, email from staged_debtors;

-- store --
-- Input: lines with the columns of the table that {columns} names, in that order. Files have few of them, and each costs time.
copy debtors ({columns}) from stdin with (format text, null e'\x01');

-- store_dry_run_rows --
-- Store the staged rows of a dry run.
insert into dry_run_rows (
    upload_id, iban_fingerprint, row_number, reference, mandate_id, customer_id, amount_minor, verdict, reasons
)
select
    %(upload_id)s, s.iban_fingerprint, s.row_number, s.reference, s.mandate_id, s.customer_id, s.amount_minor,
    coalesce(given.verdict, 'clear'), given.reasons
from staged_debtors s
left join unnest(%(rows)s::integer[], %(verdicts)s::text[], %(reasons)s::jsonb[]) as given (row_number, verdict, reasons)
    using (row_number)
order by s.iban_fingerprint;

-- forget_dry_run --
-- Delete the rows of a finished dry run.
delete from dry_run_rows where upload_id = %(upload_id)s;
