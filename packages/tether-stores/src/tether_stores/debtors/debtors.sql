-- debtors: people who owe money, one row per readable row of an upload.
--
-- `staging.sql` writes the rows and says how, `verdicts.sql` changes what screening decided about them, and `debtor_edits.sql` what
-- a person corrected. The queries here read them for people.

-- {listed_columns} --
-- A debtor in lists.
id, upload_id, row_number, iban, name, amount_minor, currency, reference, verdict, cause, created_at,
reasons::text, erased_at

-- {filters} --
-- The filters of all lists besides upload and name; one that is null does not filter.
(%(verdict)s::text is null or verdict = %(verdict)s)
and (%(reference)s::text is null or reference = %(reference)s)
and (%(iban_tail)s::text is null or right(iban, 4) = %(iban_tail)s)

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select {listed_columns}
from debtors
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(upload_id)s::bigint is null or upload_id = %(upload_id)s)
    and {filters}
order by id desc
limit %(limit)s;

-- listed_by_words --
-- One page of debtors whose names have words with these beginnings, newest first. The filters of `listed`. Frequent words are found
-- among the newest debtors; only if those do not fill the page, the index of words is read, whose rows are not ordered. "id + 0"
-- keeps Postgres from scanning all debtors by id for a rare name.
with newest as materialized (
    select d.*
    from (
        select *
        from debtors
        where
            (%(before)s::bigint is null or id < %(before)s)
            and (%(upload_id)s::bigint is null or upload_id = %(upload_id)s)
        order by id desc
        limit %(examined_max)s
    ) d
    where
        to_tsvector('simple', d.name) @@ to_tsquery('simple', %(name)s)
        and {filters}
    order by d.id desc
    limit %(limit)s
),
found as (
    select * from newest where (select count(*) from newest) >= %(limit)s
    union all
    select *
    from (
        select *
        from debtors
        where
            (select count(*) from newest) < %(limit)s
            and to_tsvector('simple', name) @@ to_tsquery('simple', %(name)s)
            and (%(before)s::bigint is null or id < %(before)s)
            and (%(upload_id)s::bigint is null or upload_id + 0 = %(upload_id)s)
            and {filters}
        order by id + 0 desc
        limit %(limit)s
    ) rare
)
select {listed_columns}
from found
order by id desc
limit %(limit)s;

-- listed_by_number --
-- One page of one upload, by row or by amount (%(sort)s), smallest or largest first. The columns and filters of `listed`.
select {listed_columns}
from debtors
cross join lateral (
    select
        case when %(descending)s then -1 else 1 end
        * case when %(sort)s = 'amount' then amount_minor else row_number::bigint end
) as sorted (key)
where
    upload_id = %(upload_id)s
    and (%(after_id)s::bigint is null or (key, id) > (%(after_number)s, %(after_id)s))
    and (%(name)s::text is null or to_tsvector('simple', name) @@ to_tsquery('simple', %(name)s))
    and {filters}
order by key, id
limit %(limit)s;

-- listed_by_name --
-- One page of one upload, by name. The columns and filters of `listed`.
select {listed_columns}
from debtors
where
    upload_id = %(upload_id)s
    and (%(after_id)s::bigint is null or (name, id) > (%(after_name)s, %(after_id)s))
    and (%(name)s::text is null or to_tsvector('simple', name) @@ to_tsquery('simple', %(name)s))
    and {filters}
order by name, id
limit %(limit)s;

-- {file_columns} --
-- What lists do not show of a row.
first_name, last_name, bic, mandate_id, mandate_signed_on, customer_id, email, phone, street, house_number, postcode,
city, province, country, description, born_on, national_id, extra

-- by_id --
-- One debtor with all columns of the file. 0 or 1 row.
select {listed_columns}, {file_columns}
from debtors
where id = %(id)s;

-- excluded --
-- The next rows of an upload that screening excluded, with all columns of the file. Up to %(limit)s rows.
select
    row_number as row, verdict, cause, reasons::text, iban, name, amount_minor, currency, reference, {file_columns}
from debtors
where upload_id = %(upload_id)s and verdict <> 'clear' and row_number > %(after_row)s
order by row_number
limit %(limit)s;
