-- check_files, check_file_rows: accounts and names that are checked without becoming debtors (tether_core.check_files).
--
-- The rows of a file live like those of vop_checks: a worker takes a lease, asks the provider outside of any transaction, and writes the answers. A file is
-- removed with its rows some days after it came, or by a person.

-- add --
-- Add a file. Returns its id.
insert into check_files (account, row_count, created_by, created_at)
values (%(account)s, %(row_count)s, %(created_by)s, %(now)s)
returning id;

-- add_rows --
-- Add the rows of a file. Arrays of length n.
insert into check_file_rows (file_id, row_number, iban, name, bank_bic, state, next_at)
select %(file_id)s, given.row_number, given.iban, given.name, given.bank, 'waiting', %(now)s
from unnest(%(row_numbers)s::integer[], %(ibans)s::text[], %(names)s::text[], %(banks)s::text[])
    as given (row_number, iban, name, bank)
order by given.row_number;

-- {file_columns} --
-- A file `f` with its progress.
f.id, f.account, f.row_count, f.created_by, f.created_at,
(select count(*) from check_file_rows r where r.file_id = f.id and r.state = 'checked') as checked,
(select count(*) from check_file_rows r where r.file_id = f.id and r.state = 'parked') as parked

-- listed --
-- The files, newest first. Up to %(limit)s rows.
select {file_columns} from check_files f order by f.id desc limit %(limit)s;

-- by_id --
-- One file. 0 or 1 row.
select {file_columns} from check_files f where f.id = %(file_id)s;

-- rows --
-- The rows of a file in their order, after one. Filters that are null do not filter. Up to %(limit)s rows.
select row_number, iban, name, state, result, score, name_answer, name_percent, bank_name, bic, provider, reused_from, checked_at
from check_file_rows
where
    file_id = %(file_id)s and row_number > %(after)s
    and (%(result)s::text is null or result = %(result)s)
    and (%(state)s::text is null or state = %(state)s)
order by row_number
limit %(limit)s;

-- report --
-- The finished rows of a file by bank and by what was answered about the name, as `BankChecks`.
select r.bank_bic as bank, r.name_answer, count(*) as count, count(r.reused_from) as reused, max(r.bank_name) as bank_name
from check_file_rows r
where r.file_id = %(file_id)s and r.state = 'checked'
group by r.bank_bic, r.name_answer
order by count(*) desc, r.bank_bic, r.name_answer;

-- remove --
-- Remove a file with its rows. Returns its id, or no row.
delete from check_files where id = %(file_id)s returning id;

-- prune --
-- Remove files that came before %(before)s, with their rows, the oldest first. Up to %(limit)s files. Returns how many.
with gone as (
    delete from check_files
    where id in (select id from check_files where created_at < %(before)s order by id limit %(limit)s)
    returning 1
)
select count(*) from gone;

-- due --
-- Whether any row is due and nobody has it. One row.
select exists (
    select from check_file_rows
    where state = 'waiting' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
);

-- claim --
-- Take a lease on up to %(limit)s rows that are due, oldest first.
with due as (
    select id
    from check_file_rows
    where state = 'waiting' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
    order by next_at, id
    limit %(limit)s
    for update skip locked
)
update check_file_rows r
set leased_until = %(leased_until)s
from due, check_files f
where r.id = due.id and f.id = r.file_id
returning r.id, r.iban, r.name, r.failures, f.account, r.bank_bic as bank;

-- checked --
-- Write the answers of n rows. Arrays of length n. Rows whose lease another worker has are not changed.
update check_file_rows r
set
    state = 'checked', next_at = null, leased_until = null, failures = 0, checked_at = %(now)s, provider = given.provider,
    reused_from = given.reused_from, name_answer = given.name_answer, name_percent = given.name_percent, bank_name = given.bank_name,
    bic = given.bic, score = given.score, answered = given.answered, result = given.result
from unnest(
    %(ids)s::bigint[], %(name_answers)s::text[], %(name_percents)s::smallint[], %(bank_names)s::text[], %(bics)s::text[],
    %(scores)s::smallint[], %(answereds)s::smallint[], %(results)s::text[], %(providers)s::text[], %(reused_from)s::bigint[]
) as given (id, name_answer, name_percent, bank_name, bic, score, answered, result, provider, reused_from)
where r.id = given.id and r.state = 'waiting' and r.leased_until = %(leased_until)s;

-- deferred --
-- Let n rows wait on, or park them where next_at is null. Arrays of length n.
update check_file_rows r
set
    state = case when given.next_at is null then 'parked' else 'waiting' end, failures = given.failures, next_at = given.next_at,
    leased_until = null
from unnest(%(ids)s::bigint[], %(failures)s::smallint[], %(next_ats)s::timestamptz[]) as given (id, failures, next_at)
where r.id = given.id and r.state = 'waiting' and r.leased_until = %(leased_until)s;
