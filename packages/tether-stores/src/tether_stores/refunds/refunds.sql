-- refunds: refunds and voids (tether_core.refunds.refund).
--
-- They are submitted like debits (payments/submissions.sql): a row may be submitted while submit_at is set, a claim is committed before
-- the call, and after a lost response status inquiries follow. At most one order about a debit may be submitted, or has an unknown
-- outcome; no order is placed while another one is active. One that failed, and that the gateway approves after all, may then be the second
-- that returned the money, and is stored as that. A transaction that changes an order locks its debit first, since both may change together.

-- {attempt_columns} from payments/billing_attempts --

-- add --
-- Insert a refund or void, unless an order about the debit, which this transaction has locked, is active. Returns id, or no row.
insert into refunds (
    attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage, state, payment_stage,
    ordered_by, created_at, updated_at, submit_at
)
select
    %(attempt_id)s, %(kind)s, %(number)s, %(account)s, %(transaction_id)s, %(amount_minor)s, %(currency)s, %(usage)s,
    'pending', 0, %(ordered_by)s, %(now)s, %(now)s, %(now)s
where not exists (
    select from refunds g
    where g.attempt_id = %(attempt_id)s and g.state in ('pending', 'unknown', 'approved', 'refunded')
)
on conflict do nothing
returning id;

-- hold_debit --
-- A debit, locked while an order about it is placed, with the number of the next order. 0 or 1 row.
select
    {attempt_columns}, coalesce(a.submitted_at, a.created_at) as debited_at,
    (select coalesce(max(g.number), 0) + 1 from refunds g where g.attempt_id = a.id) as number
from billing_attempts a
where a.id = %(attempt_id)s
for update of a;

-- {listed_columns} --
-- An order in lists.
id, attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage, state as status,
error_code, not_submitted_reason, submission_count, ordered_by, created_at, updated_at

-- of_attempt --
-- The orders about a debit, newest first.
select {listed_columns}
from refunds
where attempt_id = %(attempt_id)s
order by number desc;

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows, the columns of `of_attempt`.
select {listed_columns}
from refunds
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(account)s::text is null or account = %(account)s)
order by id desc
limit %(limit)s;

-- submittable --
-- The accounts that have an order to submit now and are not paused. One row per account.
select distinct g.account
from refunds g
where g.submit_at <= %(now)s and not exists (select from account_pauses p where p.account = g.account)
order by g.account;

-- lock_debits --
-- Lock the debits of n orders, before the orders. In the order of their ids, as everywhere.
select a.id
from billing_attempts a
where a.id in (select g.attempt_id from refunds g where g.id = any(%(ids)s))
order by a.id
for update;

-- ready_ids --
-- Up to %(limit)s orders of an account that may be submitted now, oldest first.
select id from refunds where account = %(account)s and submit_at <= %(now)s order by submit_at, id limit %(limit)s;

-- expired_ids --
-- Up to %(limit)s orders whose lease has expired, or ends later than any lease can because the clock was set back.
select id from refunds where leased_until <= %(now)s or leased_until > %(latest)s order by id limit %(limit)s;

-- named --
-- The orders that n notifications name: id, attempt_id, unique_id, transaction_id. Each id is looked up by itself (the limit forces that plan): the cost of a
-- batch must not depend on the number of orders.
select g.id, g.attempt_id, g.unique_id, g.transaction_id
from unnest(%(unique_ids)s::text[]) as given (unique_id)
cross join lateral (
    select id, attempt_id, unique_id, transaction_id from refunds where unique_id = given.unique_id limit 1
) g
union
select g.id, g.attempt_id, g.unique_id, g.transaction_id
from unnest(%(transaction_ids)s::text[]) as given (transaction_id)
cross join lateral (
    select id, attempt_id, unique_id, transaction_id from refunds where transaction_id = given.transaction_id limit 1
) g;

-- locked --
-- Lock n orders whose debits are locked. 0 to n rows, in the order of their ids: the debit as the core knows
-- it and, with "order_" before their names, the columns of the order.
select
    g.kind, g.usage, {attempt_columns}, coalesce(a.submitted_at, a.created_at) as debited_at,
    g.id as order_id, g.account as order_account, g.transaction_id as order_transaction_id,
    g.unique_id as order_unique_id, g.amount_minor as order_amount_minor, g.currency as order_currency,
    g.payment_stage as order_payment_stage, g.error_code as order_error_code,
    g.submission_count as order_submission_count, g.submit_at as order_submit_at,
    g.leased_until as order_leased_until, g.submitted_at as order_submitted_at, g.submitted_to as order_submitted_to,
    g.not_found::text as order_not_found, g.submissions_uncounted as order_submissions_uncounted
from refunds g
join billing_attempts a on a.id = g.attempt_id
where g.id = any(%(ids)s)
order by g.id
for update of g;

-- numbers --
-- The numbers of n orders about their debits. Returns id, number.
select id, number from refunds where id = any(%(ids)s);

-- write --
-- Write the new state of n orders. Arrays of length n. The status inquiries of an order that becomes unknown start again.
update refunds g
set
    unique_id = given.unique_id, state = given.state, payment_stage = given.payment_stage, error_code = given.error_code,
    submission_count = given.submission_count, submit_at = given.submit_at, leased_until = given.leased_until, submitted_at = given.submitted_at,
    not_submitted_reason = case when given.submission_count > g.submission_count then null else coalesce(given.not_submitted_reason, g.not_submitted_reason) end,
    submitted_to = string_to_array(given.submitted_to, ' '), not_found = given.not_found::jsonb,
    unresolved_reason = given.unresolved_reason, submissions_uncounted = given.submissions_uncounted,
    inquiry_count = case when given.payment_stage <> g.payment_stage then 0 else g.inquiry_count end,
    inquire_at = case when given.payment_stage <> g.payment_stage then null else g.inquire_at end,
    updated_at = %(now)s
from unnest(
    %(ids)s::bigint[], %(unique_ids)s::text[], %(states)s::text[], %(payment_stages)s::smallint[],
    %(error_codes)s::text[], %(submission_count)s::smallint[], %(submit_ats)s::timestamptz[], %(leased_untils)s::timestamptz[],
    %(submitted_ats)s::timestamptz[], %(not_submitted_reasons)s::text[], %(submitted_tos)s::text[], %(not_founds)s::text[],
    %(unresolved_reasons)s::text[], %(uncounteds)s::smallint[]
) as given (
    id, unique_id, state, payment_stage, error_code, submission_count, submit_at, leased_until, submitted_at, not_submitted_reason, submitted_to,
    not_found, unresolved_reason, submissions_uncounted
)
where g.id = given.id;

-- lease_for_inquiry --
-- Lease up to %(limit)s orders at some payment stages that need a status inquiry: without an inquiry and without news since
-- %(silent_since)s, or due again. Oldest first.
with due as (
    select id
    from refunds
    where
        payment_stage = any(%(payment_stages)s) and inquiry_count < %(inquiry_count_max)s and leased_until is null and submit_at is null
        and ((inquire_at is null and updated_at <= %(silent_since)s) or inquire_at <= %(now)s)
    order by coalesce(inquire_at, updated_at), id
    limit %(limit)s
    for update skip locked
)
update refunds g
set inquire_at = %(leased_until)s
from due
where g.id = due.id
returning g.id, g.account, g.transaction_id, g.unique_id, g.payment_stage, g.inquiry_count, g.submitted_to;

-- renew --
-- Extend the lease of n orders that are still under it.
update refunds set inquire_at = %(until)s where id = any(%(ids)s) and inquire_at = %(leased_until)s;

-- inquiry_due --
-- Whether `lease_for_inquiry` would find any order. One row.
select exists (
    select from refunds
    where
        payment_stage = any(%(payment_stages)s) and inquiry_count < %(inquiry_count_max)s and leased_until is null and submit_at is null
        and ((inquire_at is null and updated_at <= %(silent_since)s) or inquire_at <= %(now)s)
);

-- reschedule --
-- Write the next inquiry of n orders. Arrays of length n.
update refunds g
set inquiry_count = given.inquiry_count, inquire_at = given.inquire_at
from unnest(%(ids)s::bigint[], %(inquiry_count)s::smallint[], %(inquire_ats)s::timestamptz[]) as given (id, inquiry_count, inquire_at)
where g.id = given.id;

-- counts --
-- Orders by state, from the stored counts (row_counts.sql). One row per state that occurs: state, count, sum of amounts.
select word, sum(count)::bigint, sum(amount)::bigint
from (
    select word, count, amount from row_counts where subject = 'refunds'
    union all
    select word, count, amount from row_count_changes where subject = 'refunds'
) counted
group by word
having sum(count) <> 0
order by word;
