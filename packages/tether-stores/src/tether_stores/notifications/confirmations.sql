-- webhook_events, waiting for the gateway's own record.
--
-- A row in the state "confirming" waits for a status inquiry. `claim` leases it, `renew` extends the lease while the inquiry
-- runs, `store` or `defer` ends it. A worker that dies loses its lease, and another one takes the rows.

-- claim --
-- Lease all due rows of up to %(limit)s payments that wait for a status inquiry, starting with the payment whose oldest row
-- has waited longest: one inquiry answers all rows of a payment. The lease is committed before the inquiry, so no transaction is
-- open meanwhile. The payment is the signed id; for other kinds of notification it is the attempt that it names. Under a flood
-- bodies are many and large, so only the first row of each payment has its body.
with due as (
    select
        id, account, next_at,
        case when kind = 'payment' then 'p ' || notification_id else coalesce('a ' || attempt_id, 'r ' || id) end
            as payment
    from webhook_events
    where state = 'confirming' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
),
payments as (
    select account, payment
    from due
    group by account, payment
    order by min(next_at), account, payment
    limit %(limit)s
),
locked as (
    select e.id
    from webhook_events e
    where e.id in (select id from due join payments using (account, payment)) and e.state = 'confirming'
        and (e.leased_until is null or e.leased_until <= %(now)s)
    order by e.id
    for update skip locked
),
ranked as (
    select id, row_number() over (partition by account, payment order by id) as place
    from locked join due using (id)
)
update webhook_events e
set leased_until = %(leased_until)s
from ranked
left join webhook_events first_row on first_row.id = ranked.id and ranked.place = 1
where e.id = ranked.id
returning
    e.id, e.account, e.kind, e.notification_id, e.status, e.event, e.failures, e.attempt_id,
    first_row.content_type, first_row.body,
    (select transaction_id from billing_attempts a where a.id = e.attempt_id) as transaction_id,
    (select unique_id from billing_attempts a where a.id = e.attempt_id) as unique_id;

-- renew --
-- Extend the lease of n rows that are still under it. Returns how many.
with held as (
    update webhook_events
    set leased_until = %(until)s
    where id = any(%(ids)b) and state = 'confirming' and leased_until = %(leased_until)s
    returning 1
)
select count(*) from held;

-- store --
-- Store the gateway's own records beside n leased rows and make the rows due. Arrays of length n. Rows under another lease are
-- not changed. Returns how many were written.
with written as (
    update webhook_events e
    set
        state = 'waiting', confirmed_status = given.status, confirmed_error_code = given.error_code,
        confirmed_reason_code = given.reason_code, confirmed_transaction_id = given.transaction_id,
        confirmed_amount_minor = given.amount_minor, confirmed_currency = given.currency,
        confirmed_at = %(now)s, next_at = %(now)s, leased_until = null, failures = 0
    from unnest(
        %(ids)b::bigint[], %(statuses)b::text[], %(error_codes)b::text[], %(reason_codes)b::text[],
        %(transaction_ids)b::text[], %(amounts_minor)b::bigint[], %(currencies)b::text[]
    ) as given (id, status, error_code, reason_code, transaction_id, amount_minor, currency)
    where e.id = given.id and e.state = 'confirming' and e.leased_until = %(leased_until)s
    returning 1
)
select count(*) from written;

-- defer --
-- Defer the inquiry of n leased rows, or park those whose next_at is null. Arrays of length n.
update webhook_events e
set
    state = case when given.next_at is null then 'parked' else 'confirming' end, reason = given.reason,
    failures = given.failures, next_at = given.next_at, leased_until = null, handled_at = %(now)s
from unnest(%(ids)b::bigint[], %(reasons)b::text[], %(failures)b::smallint[], %(next_ats)b::timestamptz[])
    as given (id, reason, failures, next_at)
where e.id = given.id and e.state = 'confirming' and e.leased_until = %(leased_until)s;

-- any_due --
-- Whether any row is due for a status inquiry and under no lease. One row.
select exists (
    select from webhook_events
    where state = 'confirming' and next_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
);
