-- What the benchmark of intake asks, and the tables of those it is compared with.

-- emptied --
-- Forget all uploads and what came of them.
truncate uploads, debtors, problems, dry_run_rows cascade;

-- upload --
-- How an upload stands. One row: state, debtors, seconds from its row (the file is stored then) to its end.
select state, stored, coalesce(extract(epoch from finished_at - created_at), 0)::double precision
from uploads
where id = %(id)s;

-- peers_table --
-- Where peers and the raw COPY put their rows: bare, so that it costs them nothing.
create table peer_debtors (
    row_number integer not null,
    iban text not null,
    iban_fingerprint bytea,
    name text not null,
    bic text,
    amount_minor bigint not null,
    currency text not null,
    mandate_id text,
    mandate_signed_on date,
    description text
);

-- peers_emptied --
-- Forget their rows.
truncate peer_debtors;

-- peers_rows --
-- How many they are. One row.
select count(*) from peer_debtors;

-- peers_copy --
-- Takes lines of text, all columns.
copy peer_debtors from stdin;

-- stored --
-- Rows %(first)s to %(last)s of debtors that came long ago, a hundred thousand to an upload: outside of every window, so that
-- the debtors of the benchmark's files are new to screening, which has to find that out all the same.
insert into debtors (
    upload_id, row_number, iban, iban_fingerprint, name, amount_minor, currency, bic, mandate_id, mandate_signed_on,
    description, created_at
)
select
    -1 - n / 100000, 2 + n %% 100000, 'DE00' || lpad(n::text, 18, '0'), decode(md5('stored ' || n), 'hex'),
    'Filled Row ' || n %% 5000, 199 + n %% 9800, 'EUR', 'COBADEFFXXX', 'OLD-' || n, date '2020-01-01' + (n %% 2000)::integer,
    'Beitrag ' || n, %(now)s - interval '200 days'
from generate_series(%(first)s::bigint, %(last)s::bigint) as n;

-- tidied --
-- As autovacuum leaves it.
vacuum (freeze, analyze) debtors;

-- size --
-- How many bytes the database takes. One row.
select pg_database_size(current_database());
