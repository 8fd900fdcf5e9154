-- uploads: uploaded files and the progress of reading them.
--
-- `record` inserts a row once its object is in the store; of several with the same bytes and answers, one is inserted. A worker
-- leases it for a turn (uploads/turns.sql). Every write names the lease, and changes nothing once another worker has taken over.
--
-- Each chunk of rows is one transaction: debtors, problems and `advance` are committed together.

-- record --
-- Make a row. Returns its id, or no row when the same bytes with the same answers are stored.
insert into uploads (
    object_key, filename, size_bytes, sha256, state, created_at, updated_at, content_key, answers, dry_run, forced,
    added_by, due_at
)
values (
    %(object_key)s, %(filename)s, %(size_bytes)s, %(sha256)s, 'received', %(now)s, %(now)s, %(content_key)s,
    %(answers)s::json, %(dry_run)s, %(forced)s, %(added_by)s, %(now)s
)
on conflict (content_key, dry_run) where not forced do nothing
returning id;

-- same --
-- The stored upload with this content. 0 or 1 row: its id.
select id from uploads where content_key = %(content_key)s and dry_run = %(dry_run)s and not forced;

-- planned --
-- Write how the file is read. With a state that waits for a person, the lease ends. Returns the id, or no row.
update uploads
set
    state = %(state)s, plan = %(plan)s::json, preview = %(preview)s::json, updated_at = %(now)s,
    due_at = case when %(waits)s then null else due_at end,
    lease = case when %(waits)s then null else lease end,
    claims = case when %(waits)s then 0 else claims end
where id = %(id)s and lease = %(lease)s
returning id;

-- advance --
-- Add the counts of a chunk, in the transaction that stores it. Returns the id, or no row when the lease is lost.
update uploads
set
    position = %(position)s::json, notes = %(notes)s::json, bytes_read = %(bytes_read)s,
    rows_read = rows_read + %(rows)s, stored = stored + %(stored)s, excluded = excluded + %(excluded)s,
    refused = refused + %(refused)s, skipped = skipped + %(skipped)s, warnings = warnings + %(warnings)s,
    amount_minor = amount_minor + %(amount_minor)s,
    verdict_counts = %(verdict_counts)s::json, problem_counts = %(problem_counts)s::json,
    kept_problems = %(kept_problems)s::json, claims = 0, due_at = %(until)s, updated_at = %(now)s
where id = %(id)s and lease = %(lease)s
returning id;

-- counted --
-- The counts by verdict and by problem so far. One row.
select verdict_counts::text as verdicts, problem_counts::text as problems from uploads where id = %(id)s;

-- count_warnings --
-- Count warnings that were found after all rows were read, inside the transaction that writes them. Returns the id, or no row when
-- the lease is lost.
update uploads
set
    warnings = warnings + %(warned)s, problem_counts = %(problem_counts)s::json, updated_at = %(now)s
where id = %(id)s and lease = %(lease)s
returning id;

-- recount --
-- Move rows between the counts after all were screened, inside the transaction that changes their verdicts. Returns the id, or no
-- row when the lease is lost; without a lease, the upload must be completed.
update uploads
set
    stored = stored + %(stored)s, excluded = excluded - %(stored)s, amount_minor = amount_minor + %(amount_minor)s,
    verdict_counts = %(verdict_counts)s::json, updated_at = %(now)s
where id = %(id)s and (lease = %(lease)s or (%(lease)s::text is null and state = 'completed'))
returning id;

-- screened --
-- Write the result of screening all rows: the plan with questions and decisions, the groups asked about, notes. With a
-- state that waits for a person, the lease ends. Returns the id, or no row when the lease is lost.
update uploads
set
    state = %(state)s, plan = %(plan)s::json, repeats = %(repeats)s::json, notes = %(notes)s::json,
    screened_at = coalesce(screened_at, %(now)s), screening_answers = %(answers)s::json, updated_at = %(now)s,
    due_at = case when %(waits)s then null else due_at end,
    lease = case when %(waits)s then null else lease end,
    claims = case when %(waits)s then 0 else claims end
where id = %(id)s and lease = %(lease)s
returning id;

-- decide --
-- Write what a person answered about the rows of an upload, which is due again then. Returns the id, or no row when it is not in the
-- state it was.
update uploads
set state = %(after)s, screening_answers = %(answers)s::json, due_at = %(now)s, updated_at = %(now)s
where id = %(id)s and state = %(before)s and screened_at is not null
returning id;

-- end --
-- Write that the upload is completed or failed; its lease ends. Returns the id, or no row when the lease is lost.
update uploads
set
    state = %(state)s, failure_code = %(failure_code)s, failure = %(failure)s, finished_at = %(now)s,
    updated_at = %(now)s, bytes_read = case when %(failure_code)s::text is null then size_bytes else bytes_read end,
    lease = null, due_at = null, claims = 0, read_s = read_s + %(took_s)s
where id = %(id)s and lease = %(lease)s
returning id;

-- answer --
-- Send an upload through again with other answers; where no debtor of it is stored, from its first row. Returns the id, or no row
-- when it is not in the state it was.
with anew as (
    update uploads
    set
        position = null, rows_read = 0, excluded = 0, stored = 0, refused = 0, skipped = 0, warnings = 0, amount_minor = 0,
        verdict_counts = '{}', problem_counts = '{}', kept_problems = '{}', notes = '[]', bytes_read = 0,
        state = %(after)s, answers = %(answers)s::json, content_key = %(content_key)s, plan = null, preview = null,
        failure_code = null, failure = null, finished_at = null, claims = 0, due_at = %(now)s, updated_at = %(now)s
    where id = %(id)s and state = %(before)s and (dry_run or stored + excluded = 0)
    returning id
),
onward as (
    update uploads
    set
        state = %(after)s, answers = %(answers)s::json, content_key = %(content_key)s, plan = null, preview = null,
        failure_code = null, failure = null, finished_at = null, claims = 0, due_at = %(now)s, updated_at = %(now)s
    where id = %(id)s and state = %(before)s and not (dry_run or stored + excluded = 0)
    returning id
),
forgotten as (
    delete from problems where upload_id in (select id from anew)
)
select id from anew
union all
select id from onward;

-- {upload_columns} --
-- An upload in lists.
id, filename, size_bytes, encode(sha256, 'hex') as sha256, state, dry_run, added_by, created_at, started_at,
finished_at, bytes_read, rows_read, stored, excluded, refused, skipped, warnings, amount_minor, verdict_counts::text,
problem_counts::text, failure_code, failure, kept_problems::text

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select {upload_columns}
from uploads
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(filename)s::text is null or strpos(lower(filename), lower(%(filename)s::text)) > 0)
    and (
        %(account)s::text is null
        or (
            exists (select from billing_runs r where r.upload_id = uploads.id and r.account = %(account)s)
            and not exists (select from billing_runs r where r.upload_id = uploads.id and r.account <> %(account)s)
        )
    )
order by id desc
limit %(limit)s;

-- by_id --
-- One upload: the columns of `listed`, then object_key, answers, plan, notes, screened_at, repeats, screening_answers and
-- what was removed. 0 or 1 row.
select {upload_columns},
    object_key, answers::text, plan::text, notes::text, screened_at, repeats::text, screening_answers::text,
    file_removed_at, problems_removed_at
from uploads
where id = %(id)s;

-- referenced --
-- Which of these objects an upload names. 0 to n rows.
select object_key from uploads where object_key = any(%(keys)s);

-- first_at --
-- When the first upload came. 0 or 1 row.
select created_at from uploads order by id limit 1;

-- preview --
-- The first rows of an upload as they were read. 0 or 1 row.
select preview::text from uploads where id = %(id)s;
