-- Generated uploads with their debtors, for tests and benchmarks of what follows intake.

-- upload --
-- Insert a completed upload. Returns its id.
insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, rows_read, stored)
values (%(object_key)s, 'seeded.csv', 0, ''::bytea, 'completed', %(now)s, %(now)s, %(rows)s, %(rows)s)
returning id;

-- debtors --
-- Insert the debtors of an upload. Arrays of length n. Returns id: n rows in the order of the arrays.
insert into debtors (
    upload_id, row_number, iban, iban_fingerprint, name, amount_minor, currency, city, country, created_at
)
select
    %(upload_id)s, given.position, given.iban, given.fingerprint, given.name, given.amount_minor, given.currency, given.city,
    given.country, %(now)s
from unnest(
    %(ibans)s::text[], %(fingerprints)s::bytea[], %(names)s::text[], %(amounts_minor)s::bigint[], %(currencies)s::text[],
    %(cities)s::text[], %(countries)s::text[]
) with ordinality as given (iban, fingerprint, name, amount_minor, currency, city, country, position)
order by given.position
returning id;
