-- submissions: billing_attempts as debits that are submitted once (tether_core.payments.submission).
--
-- A row may be submitted while submit_at is set. A claim clears submit_at, sets leased_until and increments submission_count, and is
-- committed before the call. After the call the row is found by its id and the number of the call.
-- submitted_to names the gateway identity of each call, committed with its claim; unresolved_reason says why the latest
-- inquiry about a debit of unknown outcome did not resolve it (tether_core.payments.submission).
-- Rows are locked in the order of their ids, as everywhere.

-- {debit_columns} --
-- A debit with how far its submission has come.
a.id, a.account, a.transaction_id, a.unique_id, a.amount_minor, a.currency, a.payment_stage, a.dispute_stage,
a.error_code, a.reason_code, a.iban_fingerprint, a.iban_masked, a.submission_count, a.submit_at, a.leased_until,
a.submitted_at, a.submitted_to, a.not_found::text, a.submissions_uncounted, a.debtor_id, a.retry_of is not null as again, a.created_at as made_at,
case
    when a.retry_of is not null then (
        select min(coalesce(f.submitted_at, f.created_at))
        from billing_attempts f
        where f.debtor_id = a.debtor_id and f.due_item = a.due_item and f.not_submitted_reason is null
    )
end as first_tried_at

-- add --
-- Insert n attempts of a run, unless the try exists. Arrays of length n. Returns debtor_id, amount_minor of those inserted. A debtor
-- that was edited or erased since it was judged gets none, and cannot be edited until this transaction ends (debtor_edits.sql).
with judged as (
    select given.*
    from unnest(
        %(debtor_ids)s::bigint[], %(transaction_ids)s::text[], %(amounts_minor)s::bigint[], %(currencies)s::text[],
        %(fingerprints)s::bytea[], %(maskeds)s::text[], %(try_numbers)s::smallint[], %(retries_of)s::bigint[],
        %(canaries)s::boolean[]
    ) as given (
        debtor_id, transaction_id, amount_minor, currency, iban_fingerprint, iban_masked, try_number, retry_of, canary
    )
    join debtors d
        on d.id = given.debtor_id and d.iban_fingerprint = given.iban_fingerprint and d.erased_at is null
            and (%(is_scheduled)s or d.amount_minor = given.amount_minor)
    order by d.id
    for key share of d
),
added as (
    insert into billing_attempts (
        account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage,
        iban_fingerprint, iban_masked, created_at, updated_at,
        run_id, due_item, try_number, retry_of, canary, submit_at
    )
    select
        %(account)s, given.debtor_id, given.transaction_id, given.amount_minor, given.currency, 'pending', 0, 0,
        given.iban_fingerprint, given.iban_masked, %(now)s, %(now)s,
        %(run_id)s, %(due_item)s, given.try_number, given.retry_of, given.canary, %(now)s
    from judged given
    order by given.debtor_id, given.try_number
    on conflict do nothing
    returning debtor_id, amount_minor, retry_of
),
retried as (
    update billing_attempts a set is_retried = true from added where a.id = added.retry_of
)
select debtor_id, amount_minor from added;

-- ready --
-- Lock up to %(limit)s debits of a run that may be submitted now, canaries first; rows that another worker has locked are skipped.
select {debit_columns}
from billing_attempts a
where
    a.run_id = %(run_id)s and a.canary >= %(canaries_only)s and a.submit_at <= %(now)s
    and a.payment_stage <= 10 and a.dispute_stage = 0
order by a.canary desc, a.submit_at, a.id
limit %(limit)s
for update of a skip locked;

-- lock_accounts --
-- Lock n bank accounts until this transaction ends: the second of two claims of an account waits for the first. They are locked
-- in one order, so that claims do not deadlock; 1 is the class of these locks. n rows.
select pg_advisory_xact_lock(1, given.number)
from (
    select distinct hashtext(encode(fingerprint, 'hex')) as number
    from unnest(%(fingerprints)s::bytea[]) as accounts (fingerprint)
    order by 1
) given;

-- locked --
-- Lock n debits. 0 to n rows, in the order of their ids.
select {debit_columns}
from billing_attempts a
where a.id = any(%(ids)s)
order by a.id
for update;

-- expired --
-- Lock up to %(limit)s debits whose lease has expired, or ends later than any lease can because the clock was set back. Rows that
-- another worker has locked are skipped.
select {debit_columns}
from billing_attempts a
where a.leased_until <= %(now)s or a.leased_until > %(latest)s
order by a.id
limit %(limit)s
for update of a skip locked;

-- unsent --
-- Lock up to %(limit)s debits of a run that are scheduled for submission, now or later.
select {debit_columns}
from billing_attempts a
where a.run_id = %(run_id)s and a.submit_at is not null and a.payment_stage <= 10 and a.dispute_stage = 0
order by a.id
limit %(limit)s
for update of a skip locked;

-- write --
-- Write the new state of n debits. Arrays of length n. The status inquiries of a debit that becomes unknown start again.
update billing_attempts a
set
    unique_id = given.unique_id, state = given.state, payment_stage = given.payment_stage, error_code = given.error_code,
    submission_count = given.submission_count, submit_at = given.submit_at, leased_until = given.leased_until, submitted_at = given.submitted_at,
    not_submitted_reason = coalesce(given.not_submitted_reason, a.not_submitted_reason),
    submitted_to = string_to_array(given.submitted_to, ' '), not_found = given.not_found::jsonb,
    unresolved_reason = given.unresolved_reason, submissions_uncounted = given.submissions_uncounted,
    inquiry_count = case when given.unknown and a.leased_until is not null then 0 else a.inquiry_count end,
    inquire_at = case when given.unknown and a.leased_until is not null then null else a.inquire_at end,
    updated_at = %(now)s
from unnest(
    %(ids)s::bigint[], %(unique_ids)s::text[], %(states)s::text[], %(payment_stages)s::smallint[],
    %(error_codes)s::text[], %(submission_count)s::smallint[], %(submit_ats)s::timestamptz[], %(leased_untils)s::timestamptz[],
    %(submitted_ats)s::timestamptz[], %(not_submitted_reasons)s::text[], %(submitted_tos)s::text[], %(not_founds)s::text[],
    %(unresolved_reasons)s::text[], %(uncounteds)s::smallint[], %(unknowns)s::boolean[]
) as given (
    id, unique_id, state, payment_stage, error_code, submission_count, submit_at, leased_until, submitted_at, not_submitted_reason, submitted_to,
    not_found, unresolved_reason, submissions_uncounted, unknown
)
where a.id = given.id;

-- unschedule_ended --
-- Unschedule debits that a notification has completed before their submission. Returns how many.
with reported as (
    update billing_attempts
    set submit_at = null, updated_at = %(now)s
    where submit_at is not null and (payment_stage > 10 or dispute_stage > 0)
    returning 1
)
select count(*) from reported;

-- due_again --
-- Lock up to %(limit)s returned debits whose retry is due and was not made yet. A debit with a refund, completed or ordered here or in the
-- gateway's back office, is not retried automatically. Those that have been due the longest come first, in the order of the index.
select a.id, a.run_id, a.debtor_id, a.due_item, a.try_number + 1 as number
from billing_attempts a
join billing_runs r on r.id = a.run_id
where
    a.retry_on <= %(today)s and not a.is_retried and a.dispute_stage in (1, 3) and r.state in ('running', 'paused', 'finished')
    and a.payment_stage < 70
    and not exists (
        select from refunds g
        where g.attempt_id = a.id and g.state in ('pending', 'unknown', 'approved', 'refunded')
    )
    and not exists (
        select from gateway_refunds g
        where
            g.attempt_id = a.id and g.state in ('reported', 'pending', 'approved')
            and not exists (select from refunds r where r.unique_id = g.unique_id)
    )
    and (select true from billing_attempts later where later.retry_of = a.id limit 1) is null
order by a.retry_on, a.id
limit %(limit)s
for update of a skip locked;

-- begin_day --
-- Insert the row of an account's day where there is none.
insert into gateway_account_days (account, day_on, count, amount_minor)
values (%(account)s, %(day_on)s, 0, 0)
on conflict do nothing;

-- hold_day --
-- The counts of an account's day, locked for a change. One row: count, amount_minor.
select count, amount_minor from gateway_account_days where account = %(account)s and day_on = %(day_on)s for update;

-- count_day --
-- Add to the counts of an account's day.
update gateway_account_days
set count = count + %(count)s, amount_minor = amount_minor + %(amount_minor)s
where account = %(account)s and day_on = %(day_on)s;

-- analyze --
-- Update the planner statistics after a run was planned. Without it, each claim sorts all attempts of the run until autovacuum
-- gathers statistics, a minute later or more. The function runs as the owner: of any other role Postgres skips the table with a warning.
select analyze_billing_attempts();

-- lease_count --
-- Debits that are being submitted, and debits that are scheduled for submission. One row.
select
    (select count(*) from billing_attempts where leased_until is not null),
    (select count(*) from billing_attempts where submit_at is not null);
