-- mandates: which rows of an upload have a mandate of several accounts.
--
-- `mandate_key` brings mandates together that may be the same, however they are written; `tether_core.mandate_conflicts` decides. Both
-- queries read what is needed of an upload once: the first its rows, the second one row of `debtors_by_mandate` for each of them.

-- {of_several_accounts} --
-- The end of a query: rows of `used` whose key is used for several accounts.
keys as (
    select key from used group by key having count(distinct iban_fingerprint) > 1
)
select key, row_number, mandate_id, iban_fingerprint
from used
join keys using (key)
order by key, row_number

-- {of_another_account} --
-- The end of a query: rows of `used` whose mandate was last seen with another account, in another upload.
latest as materialized (
    select k.key, e.*
    from (select distinct key from used) k
    cross join lateral (
        select e.upload_id, e.row_number, e.mandate_id, e.iban_fingerprint
        from debtors e
        where
            mandate_key(e.mandate_id) = k.key and e.mandate_id is not null
            and e.upload_id is distinct from %(upload_id)s and e.verdict = 'clear'
            and not exists (select from uploads u where u.id = e.upload_id and u.state = 'withdrawn')
        order by e.id + 0 desc
        limit 1
    ) e
)
select
    used.row_number, used.mandate_id, used.iban_fingerprint, latest.upload_id, latest.row_number, latest.mandate_id,
    latest.iban_fingerprint
from used
join latest using (key)
where latest.iban_fingerprint <> used.iban_fingerprint
order by used.row_number

-- in_file --
-- The rows of an upload whose mandate key stands beside several accounts. Ordered by key and row. 0 to n rows:
-- key, row_number, mandate_id, iban_fingerprint.
with used as materialized (
    select mandate_key(mandate_id) as key, row_number, mandate_id, iban_fingerprint
    from debtors
    where upload_id = %(upload_id)s and mandate_id is not null and verdict <> 'duplicate_in_file'
),
{of_several_accounts};

-- in_file_dry_run --
-- The same of a dry run.
with used as materialized (
    select mandate_key(mandate_id) as key, row_number, mandate_id, iban_fingerprint
    from dry_run_rows
    where upload_id = %(upload_id)s and mandate_id is not null and verdict <> 'duplicate_in_file'
),
{of_several_accounts};

-- elsewhere --
-- The rows of an upload whose mandate was last seen with another account. 0 to n rows: row_number, mandate_id, iban_fingerprint;
-- then upload_id, row_number, mandate_id and iban_fingerprint of the latest row of another upload that may be billed and has the key.
-- Each key is looked up once; "+ 0" keeps the look in the index of keys, where the one of ids would be read from its end.
with used as materialized (
    select mandate_key(mandate_id) as key, row_number, mandate_id, iban_fingerprint
    from debtors
    where upload_id = %(upload_id)s and mandate_id is not null and verdict <> 'duplicate_in_file'
),
{of_another_account};

-- elsewhere_dry_run --
-- The same of a dry run.
with used as materialized (
    select mandate_key(mandate_id) as key, row_number, mandate_id, iban_fingerprint
    from dry_run_rows
    where upload_id = %(upload_id)s and mandate_id is not null and verdict <> 'duplicate_in_file'
),
{of_another_account};
