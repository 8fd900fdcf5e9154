-- inquiry_orders: status inquiries that a person orders (tether_core.inquiry_orders), and inquiry_order_attempts, their debits.
--
-- A debit of an order waits while inquire_at is set. Claiming it moves inquire_at to the end of the lease; noting an answer
-- clears it, noting silence moves it on. A debit waits for one ordered inquiry at a time, by a unique index. The schedule of the debit
-- itself (billing_attempts.inquire_at) is not touched.

-- add --
-- Place an order. Returns id.
insert into inquiry_orders (scope, subject_id, ordered_by, reason, more, created_at)
values (%(scope)s, %(subject_id)s, %(ordered_by)s, %(reason)s, false, %(now)s)
returning id;

-- left_some --
-- Note that debits were left for another order.
update inquiry_orders set more = true where id = %(id)s;

-- submitted --
-- Whether a call was ever made for a debit, or the gateway has named it. 0 or 1 row.
select submission_count > submissions_uncounted or unique_id is not null from billing_attempts where id = %(attempt_id)s;

-- of_attempt --
-- The debit of an order about one: id.
select id from billing_attempts where id = %(subject_id)s;

-- of_run --
-- Up to %(limit)s debits of a run in some states that do not wait for an ordered inquiry, the oldest first: id.
select a.id
from billing_attempts a
where
    a.run_id = %(subject_id)s and a.state = any(%(states)s::text[])
    and (a.submission_count > a.submissions_uncounted or a.unique_id is not null)
    and not exists (
        select from inquiry_order_attempts o where o.attempt_id = a.id and o.inquire_at is not null
    )
order by a.id
limit %(limit)s;

-- of_upload --
-- The same of the runs of an upload.
select a.id
from billing_runs r
join billing_attempts a on a.run_id = r.id and a.state = any(%(states)s::text[])
where
    r.upload_id = %(subject_id)s
    and (a.submission_count > a.submissions_uncounted or a.unique_id is not null)
    and not exists (
        select from inquiry_order_attempts o where o.attempt_id = a.id and o.inquire_at is not null
    )
order by a.id
limit %(limit)s;

-- add_attempts --
-- Let n debits wait for the inquiry of an order, unless they wait for one already. Array of length n.
insert into inquiry_order_attempts (order_id, attempt_id, state_before, inquire_at, expires_at)
select %(id)s, a.id, a.state, %(now)s, %(expires_at)s
from billing_attempts a
where a.id = any(%(attempt_ids)s::bigint[])
order by a.id
on conflict do nothing;

-- by_id --
-- One order with its progress. 0 or 1 row: the fields of `InquiryOrder`.
select
    o.id, o.scope, o.subject_id, o.ordered_by, o.reason, o.more, o.created_at, progress.debits, progress.waiting,
    progress.inquired, progress.given_up
from inquiry_orders o
cross join lateral (
    select
        count(*) as debits, count(*) filter (where inquire_at is not null) as waiting,
        count(*) filter (where is_inquired) as inquired,
        count(*) filter (where inquire_at is null and not is_inquired) as given_up
    from inquiry_order_attempts
    where order_id = o.id
) progress
where o.id = %(id)s;

-- listed --
-- Up to %(limit)s debits of an order behind one of them: attempt_id, its state when it was ordered and now, whether it was inquired,
-- whether it waits.
select
    o.attempt_id, o.state_before as status_before, a.state as status, o.is_inquired,
    o.inquire_at is not null as is_waiting
from inquiry_order_attempts o
join billing_attempts a on a.id = o.attempt_id
where o.order_id = %(id)s and o.attempt_id > %(after)s
order by o.attempt_id
limit %(limit)s;

-- give_up --
-- Give up inquiries without an answer for that time. Returns how many.
with given_up as (
    update inquiry_order_attempts
    set inquire_at = null
    where inquire_at <= %(now)s and expires_at <= %(now)s
    returning 1
)
select count(*) from given_up;

-- inquiry_due --
-- Whether any debit waits for an ordered inquiry. One row. The parameters of `InquiryTable` for schedules are not used.
select exists (select from inquiry_order_attempts where inquire_at <= %(now)s);

-- lease_for_inquiry --
-- Lease up to %(limit)s debits that wait for an ordered inquiry. The columns of `InquiryRow`; the id is the attempt's.
with due as (
    select order_id, attempt_id
    from inquiry_order_attempts
    where inquire_at <= %(now)s and expires_at > %(now)s
    order by inquire_at, attempt_id
    limit %(limit)s
    for update skip locked
)
update inquiry_order_attempts o
set inquire_at = %(leased_until)s
from due, billing_attempts a
where o.order_id = due.order_id and o.attempt_id = due.attempt_id and a.id = o.attempt_id
returning a.id, a.account, a.transaction_id, a.unique_id, a.payment_stage, o.inquiry_count, a.submitted_to;

-- renew --
-- Extend the lease of n debits that are still under it.
update inquiry_order_attempts set inquire_at = %(until)s
where attempt_id = any(%(ids)s) and inquire_at = %(leased_until)s;

-- reschedule --
-- Store the results of inquiries. Arrays of length n. A debit with a response is done. Without a response inquiry_count does not
-- grow, and the debit waits until inquire_at.
update inquiry_order_attempts o
set
    inquiry_count = given.inquiry_count,
    inquire_at = case when given.inquiry_count = o.inquiry_count then given.inquire_at end,
    is_inquired = given.inquiry_count > o.inquiry_count or given.inquire_at is null
from unnest(%(ids)s::bigint[], %(inquiry_count)s::smallint[], %(inquire_ats)s::timestamptz[]) as given (id, inquiry_count, inquire_at)
where o.attempt_id = given.id and o.inquire_at is not null;
