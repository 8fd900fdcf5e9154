-- problems: what is wrong with rows of uploads.
--
-- Rows are written by COPY, in the transaction that stores their chunk. A row of a file may have several,
-- distinguished by `ordinal`; the first of a refused row (ordinal 0) keeps the row's cells as they came, for the report.

-- copy --
-- Takes CSV: upload_id, row_number, ordinal, level, column_name, code, shown, note, cells. An empty cell is shown as "",
-- which CSV would otherwise take for null.
copy problems (upload_id, row_number, ordinal, level, column_name, code, excerpt, note, cells)
from stdin with (format csv, force_not_null (column_name, excerpt, note));

-- warn --
-- Add warnings of one code to rows that became debtors, behind what they have; a row that has the code keeps it. Arrays of length n.
-- One row per warning that is new: whether it is the row's first.
insert into problems (upload_id, row_number, ordinal, level, column_name, code, excerpt, note)
select
    %(upload_id)s, given.row_number,
    coalesce((select max(p.ordinal) + 1 from problems p where p.upload_id = %(upload_id)s and p.row_number = given.row_number), 0),
    'warning', given.column_name, given.code, given.excerpt, given.note
from unnest(%(rows)s::integer[], %(columns)s::text[], %(codes)s::text[], %(excerpt)s::text[], %(notes)s::text[])
    as given (row_number, column_name, code, excerpt, note)
where not exists (
    select from problems p where p.upload_id = %(upload_id)s and p.row_number = given.row_number and p.code = given.code
)
returning ordinal = 0;

-- count --
-- How many rows of an upload have a problem. One row.
select count(*) from problems where upload_id = %(upload_id)s and code = %(code)s;

-- listed --
-- One page in the order of the file. Filters that are null do not filter. Up to %(limit)s rows.
select row_number as row, ordinal, level, column_name as column, code, excerpt, note
from problems
where
    upload_id = %(upload_id)s
    and (row_number, ordinal) > (%(after_row)s, %(after_ordinal)s)
    and (%(level)s::text is null or level = %(level)s)
    and (%(code)s::text is null or code = %(code)s)
order by row_number, ordinal
limit %(limit)s;

-- of_rows --
-- All problems of the next refused rows, with their cells, in order. Up to %(limit)s rows of the file.
with refused as (
    select row_number, cells
    from problems
    where upload_id = %(upload_id)s and row_number > %(after_row)s and cells is not null
    order by row_number
    limit %(limit)s
)
select r.row_number, r.cells::text, p.column_name, p.code, p.excerpt, p.note, p.level
from refused r
join problems p on p.upload_id = %(upload_id)s and p.row_number = r.row_number
order by r.row_number, p.ordinal;

-- of_row --
-- What deserved a look of one row that became a debtor.
select row_number, ordinal, level, column_name, code, excerpt, note
from problems
where upload_id = %(upload_id)s and row_number = %(row_number)s
order by ordinal;
