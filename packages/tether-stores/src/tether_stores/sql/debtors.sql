-- debtors: people who owe money, one row per row of an upload that could be read.
--
-- Rows come in chunks. What screening needs of a chunk is copied into `staged_debtors`, a temporary table without an index that
-- lives for one transaction; `screen` gathers what is known of its rows. Then the whole rows are copied into the table with
-- their verdicts: COPY writes a page of them at a time, where an insert writes, and logs, row by row.
-- Rows that screening leaves out are stored too, with the rule and its cause: whoever asks why somebody was not
-- debited gets an answer.
--
-- Rows come in the order of their fingerprints. The index on them is the one that grows in random places, and in this
-- order neighbours share a page of it; ten million debtors cost hardly more than none.

-- guard --
-- Plans are not compiled: these queries are short, and Postgres would take longer to compile them than to run them. A chunk
-- is sorted in memory, where it already is in order, and not hashed first. An account has a row or two in an index, for which a
-- bitmap is built longer than it is used; without bitmaps a table nobody has analysed yet must not be read whole instead.
select
    set_config('jit', 'off', true), set_config('work_mem', '32MB', true), set_config('enable_hashagg', 'off', true),
    set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true);

-- stage --
-- Make the staging table of this transaction.
create temporary table staged_debtors (
    iban_fingerprint bytea not null,
    row_number integer not null,
    amount_minor bigint not null,
    reference text,
    name text not null,
    email text
) on commit drop;

-- stage_rows --
-- Takes lines: the columns of `stage` that {columns} names, in that order.
copy staged_debtors ({columns}) from stdin with (format text, null e'\x01');

-- screen --
-- What is known of the staged rows besides their cells; rows nothing is known of are left out. 0 to n rows:
--  0 row_number, 1 amount_minor, 2 reference
--  3 first_row, 4 first_reference, 5 first_row_same_reference: of the rows of this file with the same IBAN; null when
--    it is the only one
--  6 listed ("hold" or "block"), 7 reason_code, 8 note: of the strictest live entry for the account
--  9 charged back before
-- 10 when the same debit was collected through another upload
-- 11 when a debit from the account was last tried through another upload, 12 its state
-- 13 when the account was last taken in through another upload within the window, 14 that upload
-- Each account is looked up once. The subqueries with "offset 0" stay what they are, a look into an index per account: a
-- plan that reads whole tables instead would read ten million rows for each chunk. Of most accounts nothing is known, so
-- `touched` sorts them out before anything is joined.
with accounts as materialized (
    select iban_fingerprint, count(*) as rows from staged_debtors group by iban_fingerprint order by iban_fingerprint
),
kin as materialized (
    select a.iban_fingerprint, d.upload_id, d.row_number, d.reference, d.created_at
    from accounts a
    cross join lateral (
        select d.upload_id, d.row_number, d.reference, d.created_at
        from debtors d
        where
            d.iban_fingerprint = a.iban_fingerprint
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
    select r.iban_fingerprint, r.upload_id, r.row_number, r.reference, %(now)s
    from accounts a
    join rehearsed_rows r on r.iban_fingerprint = a.iban_fingerprint and r.upload_id = %(upload_id)s
    where %(dry_run)s
),
several as (
    select iban_fingerprint from accounts where rows > 1
    union
    select iban_fingerprint from kin where upload_id = %(upload_id)s
),
in_file as (
    select iban_fingerprint, row_number, reference, true as staged
    from staged_debtors
    where iban_fingerprint in (select iban_fingerprint from several)
    union all
    select iban_fingerprint, row_number, reference, false from kin where upload_id = %(upload_id)s
),
firsts as (
    select
        row_number, staged,
        first_value(row_number) over account as first_row,
        first_value(reference) over account as first_reference,
        min(row_number) over (partition by iban_fingerprint, reference) as first_row_same_reference
    from in_file
    window account as (partition by iban_fingerprint order by row_number)
),
elsewhere as (
    select distinct on (iban_fingerprint) iban_fingerprint, created_at, upload_id
    from kin
    where upload_id is distinct from %(upload_id)s
    order by iban_fingerprint, created_at desc
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
tried as materialized (
    select a.iban_fingerprint, t.state, t.created_at, t.forgiven, d.reference, d.upload_id
    from accounts a
    cross join lateral (
        select
            t.debtor_id, t.state, t.created_at,
            exists (
                select from forgiven_disputes f where f.attempt_id = t.id and f.dispute_stage = t.dispute_stage
            ) as forgiven
        from billing_attempts t
        where t.iban_fingerprint = a.iban_fingerprint
        offset 0
    ) t
    join debtors d on d.id = t.debtor_id
),
charged_back as (
    select distinct iban_fingerprint from tried where state = 'chargebacked' and not forgiven
),
last_tried as (
    select distinct on (iban_fingerprint) iban_fingerprint, created_at, state
    from tried
    where state not in ('voided', 'refunded') and not forgiven and upload_id is distinct from %(upload_id)s
    order by iban_fingerprint, created_at desc
),
collected as (
    select iban_fingerprint, reference, max(created_at) as created_at
    from tried
    where state = 'approved' and reference is not null and upload_id is distinct from %(upload_id)s
    group by iban_fingerprint, reference
),
touched as (
    select iban_fingerprint from accounts where rows > 1
    union
    select iban_fingerprint from kin
    union
    select iban_fingerprint from listed
    union
    select iban_fingerprint from tried
)
select
    s.row_number, s.amount_minor, s.reference,
    f.first_row, f.first_reference, f.first_row_same_reference,
    b.action, b.reason_code, b.note,
    cb.iban_fingerprint is not null,
    c.created_at,
    t.created_at, t.state,
    e.created_at, e.upload_id
from touched
join staged_debtors s using (iban_fingerprint)
left join firsts f on f.row_number = s.row_number and f.staged and f.first_row <> s.row_number
left join listed b on b.iban_fingerprint = s.iban_fingerprint
left join charged_back cb on cb.iban_fingerprint = s.iban_fingerprint
left join collected c on c.iban_fingerprint = s.iban_fingerprint and c.reference = s.reference
left join last_tried t on t.iban_fingerprint = s.iban_fingerprint
left join elsewhere e on e.iban_fingerprint = s.iban_fingerprint
where
    f.row_number is not null or b.iban_fingerprint is not null or cb.iban_fingerprint is not null
    or c.iban_fingerprint is not null or t.iban_fingerprint is not null or e.iban_fingerprint is not null;

-- names_staged --
-- Row number, amount, name and e-mail address of every staged row; asked only while names or addresses are on the blacklist.
select row_number, amount_minor, name, email from staged_debtors;

-- store --
-- Takes lines: the columns of the table that {columns} names, in that order. Files have few of them, and each costs time.
copy debtors ({columns}) from stdin with (format text, null e'\x01');

-- rehearse --
-- Remember the staged rows of a dry run.
insert into rehearsed_rows (upload_id, iban_fingerprint, row_number, reference)
select %(upload_id)s, iban_fingerprint, row_number, reference from staged_debtors order by iban_fingerprint;

-- forget_rehearsal --
-- Forget the rows of a dry run that is over.
delete from rehearsed_rows where upload_id = %(upload_id)s;

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select id, upload_id, row_number, iban, name, amount_minor, currency, reference, verdict, cause, created_at
from debtors
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(upload_id)s::bigint is null or upload_id = %(upload_id)s)
    and (%(verdict)s::text is null or verdict = %(verdict)s)
    and (%(name)s::text is null or to_tsvector('simple', name) @@ to_tsquery('simple', %(name)s))
    and (%(reference)s::text is null or reference = %(reference)s)
    and (%(iban_tail)s::text is null or right(iban, 4) = %(iban_tail)s)
order by id desc
limit %(limit)s;

-- listed_by_number --
-- One page of one upload, by row or by amount (%(sort)s), smallest or largest first. The columns and filters of `listed`.
select id, upload_id, row_number, iban, name, amount_minor, currency, reference, verdict, cause, created_at
from debtors
cross join lateral (
    select
        case when %(descending)s then -1 else 1 end
        * case when %(sort)s = 'amount' then amount_minor else row_number::bigint end
) as sorted (key)
where
    upload_id = %(upload_id)s
    and (%(after_id)s::bigint is null or (key, id) > (%(after_number)s, %(after_id)s))
    and (%(verdict)s::text is null or verdict = %(verdict)s)
    and (%(name)s::text is null or to_tsvector('simple', name) @@ to_tsquery('simple', %(name)s))
    and (%(reference)s::text is null or reference = %(reference)s)
    and (%(iban_tail)s::text is null or right(iban, 4) = %(iban_tail)s)
order by key, id
limit %(limit)s;

-- listed_by_name --
-- One page of one upload, by name. The columns and filters of `listed`.
select id, upload_id, row_number, iban, name, amount_minor, currency, reference, verdict, cause, created_at
from debtors
where
    upload_id = %(upload_id)s
    and (%(after_id)s::bigint is null or (name, id) > (%(after_name)s, %(after_id)s))
    and (%(verdict)s::text is null or verdict = %(verdict)s)
    and (%(name)s::text is null or to_tsvector('simple', name) @@ to_tsquery('simple', %(name)s))
    and (%(reference)s::text is null or reference = %(reference)s)
    and (%(iban_tail)s::text is null or right(iban, 4) = %(iban_tail)s)
order by name, id
limit %(limit)s;

-- one --
-- One debtor. 0 or 1 row: the columns of `listed`, then the rest of what the file said.
select
    id, upload_id, row_number, iban, name, amount_minor, currency, reference, verdict, cause, created_at,
    first_name, last_name, bic, mandate_id, mandate_signed_on, customer_id, email, phone, street, house_number, postcode,
    city, province, country, description, born_on, national_id, extra
from debtors
where id = %(id)s;

-- left_out --
-- The next rows of an upload that screening left out, with everything the file said of them. Up to %(limit)s rows.
select
    row_number, verdict, cause, iban, name, amount_minor, currency, first_name, last_name, bic, mandate_id,
    mandate_signed_on, reference, customer_id, email, phone, street, house_number, postcode, city, province, country,
    description, born_on, national_id, extra
from debtors
where upload_id = %(upload_id)s and verdict <> 'clear' and row_number > %(after_row)s
order by row_number
limit %(limit)s;
