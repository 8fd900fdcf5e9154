-- Old rows that are removed without an archive: files, problems, debtors without a debit, orders (tether_core.retention.periods).
--
-- Each statement removes or examines a bounded number of rows, and skips those that another transaction holds. `debtors` is walked by id, and
-- the position is stored, so that each run goes on where another one ended.

-- old_files --
-- Uploads from before %(before)s that are over and whose files are kept, up to %(limit)s: id, object_key.
select id, object_key
from uploads
where file_removed_at is null and created_at < %(before)s and state in ('completed', 'failed', 'withdrawn')
order by created_at, id
limit %(limit)s;

-- file_removed --
-- Note that the file of an upload was removed; the preview, its first rows, goes with it.
update uploads set file_removed_at = %(now)s, preview = null where id = %(id)s and file_removed_at is null;

-- old_problems --
-- Uploads from before %(before)s that are over and whose problems are kept, up to %(limit)s: id.
select id
from uploads
where problems_removed_at is null and created_at < %(before)s and state in ('completed', 'failed', 'withdrawn')
order by created_at, id
limit %(limit)s;

-- prune_problems --
-- Delete up to %(limit)s problems of an upload. Returns how many.
with gone as (
    delete from problems
    where (upload_id, row_number, ordinal) in (
        select upload_id, row_number, ordinal from problems
        where upload_id = %(upload_id)s
        order by row_number, ordinal
        limit %(limit)s
        for update skip locked
    )
    returning 1
)
select count(*) from gone;

-- problems_removed --
-- Note that the problems of an upload were removed.
update uploads set problems_removed_at = %(now)s where id = %(id)s;

-- position --
-- How far a table was walked; held, so that one worker goes on from it. 0 or 1 row.
select position from retention_positions where name = %(name)s for update skip locked;

-- begin_position --
-- Begin a walk, unless it was begun.
insert into retention_positions (name, position, updated_at) values (%(name)s, 0, %(now)s) on conflict (name) do nothing;

-- advance --
-- Note how far a table was walked.
update retention_positions set position = %(position)s, updated_at = %(now)s where name = %(name)s;

-- examined_debtors --
-- The next %(limit)s debtors after an id, up to the first that is not older than %(before)s. One row: the last id, or null.
select max(id) as last_id
from (select id, created_at from debtors where id > %(after)s order by id limit %(limit)s) page
where page.created_at < %(before)s
    and not exists (
        select from (select id, created_at from debtors where id > %(after)s order by id limit %(limit)s) young
        where young.created_at >= %(before)s and young.id < page.id
    );

-- prune_debtors --
-- Delete the debtors between two ids that never had a debit, with their checks and edits. Those stay that have a mandate or were
-- announced a debit, and those of an upload that is being billed. Returns how many.
with due as (
    select d.id
    from debtors d
    where
        d.id > %(after)s and d.id <= %(to)s
        and not exists (select from billing_attempts a where a.debtor_id = d.id)
        and not exists (select from mandates m where m.debtor_id = d.id)
        and not exists (select from pre_notifications p where p.debtor_id = d.id)
        and not exists (
            select from billing_runs r
            where r.upload_id = d.upload_id and r.state in ('planning', 'canary', 'running', 'paused')
        )
    order by d.id
    for update skip locked
),
edits as (
    delete from debtor_edits e using due where e.debtor_id = due.id
),
gone as (
    delete from debtors d using due where d.id = due.id returning 1
)
select count(*) from gone;

-- {oldest_first} --
-- Ids grow with the time of an order, so old ones are found at the beginning.
order by id
limit %(limit)s
for update skip locked

-- prune_bulk_items --
-- Delete up to %(limit)s results of bulk orders that ended before %(before)s. Returns how many.
with gone as (
    delete from bulk_order_items
    where (order_id, subject_id) in (
        select i.order_id, i.subject_id
        from bulk_order_items i
        join bulk_orders o on o.id = i.order_id
        where o.ended_at < %(before)s
        order by i.order_id, i.subject_id
        limit %(limit)s
        for update of i skip locked
    )
    returning 1
)
select count(*) from gone;

-- prune_bulk_orders --
-- Delete up to %(limit)s bulk orders that ended before %(before)s and have no results. Returns how many.
with due as (
    select id
    from bulk_orders o
    where o.ended_at < %(before)s and not exists (select from bulk_order_items i where i.order_id = o.id)
    {oldest_first}
),
gone as (
    delete from bulk_orders o using due where o.id = due.id returning 1
)
select count(*) from gone;

-- prune_inquired --
-- Delete up to %(limit)s debits of inquiry orders from before %(before)s that are not to be inquired any more. Returns how many.
with gone as (
    delete from inquiry_order_attempts
    where (order_id, attempt_id) in (
        select a.order_id, a.attempt_id
        from inquiry_order_attempts a
        join inquiry_orders o on o.id = a.order_id
        where o.created_at < %(before)s and a.inquire_at is null
        order by a.order_id, a.attempt_id
        limit %(limit)s
        for update of a skip locked
    )
    returning 1
)
select count(*) from gone;

-- prune_inquiry_orders --
-- Delete up to %(limit)s inquiry orders from before %(before)s that have no debits. Returns how many.
with due as (
    select id
    from inquiry_orders o
    where o.created_at < %(before)s and not exists (select from inquiry_order_attempts a where a.order_id = o.id)
    {oldest_first}
),
gone as (
    delete from inquiry_orders o using due where o.id = due.id returning 1
)
select count(*) from gone;

-- prune_replays --
-- Delete up to %(limit)s replays to subscribers that ended before %(before)s. Returns how many.
with due as (
    select id from replays where finished_at < %(before)s
    {oldest_first}
),
gone as (
    delete from replays r using due where r.id = due.id returning 1
)
select count(*) from gone;
