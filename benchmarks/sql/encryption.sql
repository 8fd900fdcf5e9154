-- Personal columns of debtors, as text and encrypted one by one, in two tables of an empty database.

-- made --
-- Both tables.
create table plain (
    id bigint generated always as identity primary key, iban text not null, name text not null, first_name text not null, last_name text not null,
    email text not null, phone text not null, street text not null, house_number text not null, postcode text not null, city text not null,
    reference text not null, description text not null
);
create table sealed (
    id bigint generated always as identity primary key, iban bytea not null, name bytea not null, first_name bytea not null, last_name bytea not null,
    email bytea not null, phone bytea not null, street bytea not null, house_number bytea not null, postcode bytea not null, city bytea not null,
    reference bytea not null, description bytea not null,
    -- Keyed words of the name, the keyed reference, and the keyed end of the account: what is searched for.
    words bytea[] not null, keyed_reference bytea not null, keyed_tail bytea not null
);

-- copied_plain --
-- Copy rows as text.
copy plain (iban, name, first_name, last_name, email, phone, street, house_number, postcode, city, reference, description) from stdin (format binary);

-- copied_sealed --
-- Copy encrypted rows.
copy sealed (
    iban, name, first_name, last_name, email, phone, street, house_number, postcode, city, reference, description, words, keyed_reference, keyed_tail
) from stdin (format binary);

-- indexed_plain --
-- The indexes by which people search for debtors, as schema.sql has them.
create index on plain using gin (to_tsvector('simple', name));
create index on plain (reference, id);
create index on plain ("right"(iban, 4));
vacuum analyze plain;

-- indexed_sealed --
-- The same over keyed values.
create index on sealed using gin (words);
create index on sealed (keyed_reference, id);
create index on sealed (keyed_tail);
vacuum analyze sealed;

-- sizes --
-- One row: bytes of a table, and of its indexes. %(name)s is its name.
select pg_table_size(%(name)s::text::regclass), pg_indexes_size(%(name)s::text::regclass);

-- searched_plain --
-- A page of the debtors with a word in their name. 0 to 50 rows: name.
select name from plain where to_tsvector('simple', name) @@ plainto_tsquery('simple', %(word)s) order by id desc limit 50;

-- searched_sealed --
-- The same, by the keyed word. 0 to 50 rows: name, encrypted.
select name from sealed where words @> array[%(word)s]::bytea[] order by id desc limit 50;

-- most_frequent --
-- What a thief of the keyed words sees: in how many rows the most frequent one is. One row.
select count(*) from sealed, unnest(words) as word group by word order by count(*) desc limit 1;
