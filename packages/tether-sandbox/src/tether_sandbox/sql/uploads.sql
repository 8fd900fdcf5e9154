-- Uploads that were never handed in: a finished file and its debtors, for trying and measuring what comes after intake.

-- upload --
-- A file that was read to its end. Returns its id.
insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, rows_read, stored)
values (%(object_key)s, 'seeded.csv', 0, ''::bytea, 'completed', %(now)s, %(now)s, %(rows)s, %(rows)s)
returning id;

-- debtors --
-- Its debtors. Arrays of length n. Returns id: n rows in the order of the arrays.
insert into debtors (
    upload_id, row_number, iban, iban_fingerprint, name, amount_minor, currency, city, country, created_at
)
select
    %(upload_id)s, is_notified.position, is_notified.iban, is_notified.fingerprint, is_notified.name, is_notified.amount_minor, is_notified.currency, is_notified.city,
    is_notified.country, %(now)s
from unnest(
    %(ibans)s::text[], %(fingerprints)s::bytea[], %(names)s::text[], %(amounts_minor)s::bigint[], %(currencies)s::text[],
    %(cities)s::text[], %(countries)s::text[]
) with ordinality as is_notified (iban, fingerprint, name, amount_minor, currency, city, country, position)
order by is_notified.position
returning id;
