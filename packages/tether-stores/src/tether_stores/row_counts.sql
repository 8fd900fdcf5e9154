-- row_counts: counts of rows, kept as rows are written.
--
-- Triggers of the tables write each change of a count as a row, in the transaction that changes the rows: no writer waits for
-- another one, whatever path it takes. A periodic task of the worker adds the changes to the counts and deletes them. So a count is what
-- the count tables say and what the changes say, read by one statement: it is exact whenever it is read. With one exception all
-- queries that read counts stand beside their tables: billing_attempts.sql, billing_runs.sql, refunds.sql and so on.

-- begin --
-- Whether this transaction may add changes to the counts: one does at a time, until its end. One row.
select pg_try_advisory_xact_lock(hashtextextended('tether row_counts', 0));

-- add_attempts --
-- Add up to %(limit)s changes of billing attempts to the counts. Returns how many.
with taken as (
    delete from billing_attempt_count_changes
    where id in (select id from billing_attempt_count_changes order by id limit %(limit)s)
    returning *
),
counted as (
    insert into billing_attempt_counts as c (
        run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
    )
    select
        run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, sum(count),
        sum(amount_minor)
    from taken
    group by run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code
    having sum(count) <> 0 or sum(amount_minor) <> 0
    on conflict (run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code) do update
    set count = c.count + excluded.count, amount_minor = c.amount_minor + excluded.amount_minor
),
words as (
    insert into row_counts as c (subject, word, count, amount)
    select 'billing_attempts', state, sum(count), sum(amount_minor)
    from taken
    group by state
    having sum(count) <> 0 or sum(amount_minor) <> 0
    on conflict (subject, word) do update
    set count = c.count + excluded.count, amount = c.amount + excluded.amount
)
select count(*) from taken;

-- add_words --
-- The same for the other tables.
with taken as (
    delete from row_count_changes
    where id in (select id from row_count_changes order by id limit %(limit)s)
    returning *
),
words as (
    insert into row_counts as c (subject, word, count, amount)
    select subject, word, sum(count), sum(amount)
    from taken
    group by subject, word
    having sum(count) <> 0 or sum(amount) <> 0
    on conflict (subject, word) do update
    set count = c.count + excluded.count, amount = c.amount + excluded.amount
)
select count(*) from taken;
