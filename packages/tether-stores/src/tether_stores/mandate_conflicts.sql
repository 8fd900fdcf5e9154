-- mandates: which rows of an upload have a mandate of several accounts.
--
-- The key of a mandate brings mandates together that may be the same, however they are written; `tether_core.mandate_conflicts` decides. It is the
-- hash of the plain form, which the worker stores in `mandate_plain` for almost all rows; `mandate_key` makes it of the others. A query
-- reads the rows of an upload once and looks for their keys twice: among themselves, and in one row of `debtors_by_mandate_plain` for each
-- key. Keys are looked up in their order, so that neighbours share a page of the index.

-- guard --
-- As `debtors/staging.guard`: no JIT, no bitmap for the one or two rows of a key, so no sequential scan either. The rows of a large file take
-- more memory than this, and then a file.
select
    set_config('jit', 'off', true), set_config('work_mem', '32MB', true), set_config('enable_bitmapscan', 'off', true),
    set_config('enable_seqscan', 'off', true);

-- {conflicts} --
-- The end of a query about `used`, the rows of an upload with their keys.
several as (
    select key from used group by key having count(*) > 1
),
keys as (
    select key from used join several using (key) group by key having count(distinct iban_fingerprint) > 1
),
latest as materialized (
    select distinct on (k.key) k.key, e.*
    from (select distinct key from used order by key) k
    cross join lateral (
        select e.upload_id, e.row_number, e.mandate_id, e.iban_fingerprint, e.id
        from debtors e
        where
            coalesce(hashtextextended(e.mandate_plain, 0), mandate_key(e.mandate_id)) = k.key and e.mandate_id is not null
            and e.upload_id is distinct from %(upload_id)s and e.verdict = 'clear'
        offset 0
    ) e
    where not exists (select from uploads u where u.id = e.upload_id and u.state = 'withdrawn')
    order by k.key, e.id desc
)
select
    false as is_elsewhere, key, row_number, mandate_id, iban_fingerprint,
    null::bigint, null::integer, null::text, null::bytea
from used
join keys using (key)
union all
select
    true, key, used.row_number, used.mandate_id, used.iban_fingerprint, latest.upload_id, latest.row_number, latest.mandate_id,
    latest.iban_fingerprint
from used
join latest using (key)
where latest.iban_fingerprint <> used.iban_fingerprint
order by is_elsewhere, key, row_number

-- uses --
-- The rows of an upload whose mandate key stands beside several accounts: of the same upload, or last seen in another one. 0 to n rows:
-- whether it is about another upload, key, row_number, mandate_id, iban_fingerprint; and of another upload, else null: upload_id, row_number,
-- mandate_id and iban_fingerprint of the latest row that may be billed and has the key. First those of the upload alone, ordered by key and row.
-- Each key is looked up once; "offset 0" keeps the look in the index of keys.
with used as materialized (
    select coalesce(hashtextextended(mandate_plain, 0), mandate_key(mandate_id)) as key, row_number, mandate_id, iban_fingerprint
    from debtors
    where upload_id = %(upload_id)s and mandate_id is not null and verdict <> 'duplicate_in_file'
),
{conflicts};

-- uses_dry_run --
-- The same of a dry run.
with used as materialized (
    select mandate_key(mandate_id) as key, row_number, mandate_id, iban_fingerprint
    from dry_run_rows
    where upload_id = %(upload_id)s and mandate_id is not null and verdict <> 'duplicate_in_file'
),
{conflicts};
