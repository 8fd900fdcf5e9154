-- gateway_refunds: refunds and voids of our debits that were made in the gateway's back office (tether_core.reconciliation.gateway_refunds).
--
-- A row is made by the notification or the report that names our debit, once per refund. While inquire_at is set, the gateway is
-- inquired about it; the inquiry's lease is the next inquiry's time, so a worker that dies costs a minute or two. A refund
-- that we ordered, and whose id came later than its notification, has a row here, too; it is recognised by its unique_id in refunds and does not count.

-- report --
-- Link n refunds that notifications name; known ones stay as they are. Arrays of length n.
insert into gateway_refunds (
    unique_id, attempt_id, account, kind, amount_minor, currency, state, inquire_at, first_seen_at, updated_at
)
select
    given.unique_id, given.attempt_id, given.account, given.kind, given.amount_minor, given.currency, 'reported', %(now)s, %(now)s,
    %(now)s
from unnest(
    %(unique_ids)s::text[], %(attempt_ids)s::bigint[], %(accounts)s::text[], %(kinds)s::text[], %(amounts_minor)s::bigint[],
    %(currencies)s::text[]
) as given (unique_id, attempt_id, account, kind, amount_minor, currency)
order by given.unique_id
on conflict (unique_id) do update
set inquire_at = coalesce(gateway_refunds.inquire_at, excluded.inquire_at), updated_at = excluded.updated_at
where gateway_refunds.state in ('pending', 'failed', 'contradicted');

-- resolve --
-- Write what the gateway's own record says of a refund, whether it is known or not. Returns the state before, null where it is new.
with before as (select state from gateway_refunds where unique_id = %(unique_id)s for update),
written as (
    insert into gateway_refunds (
        unique_id, attempt_id, account, kind, amount_minor, currency, state, inquiries, inquire_at, first_seen_at, updated_at
    )
    values (
        %(unique_id)s, %(attempt_id)s, %(account)s, %(kind)s, %(amount_minor)s, %(currency)s, %(state)s, %(inquiries)s,
        %(inquire_at)s, %(now)s, %(now)s
    )
    on conflict (unique_id) do update
    set
        kind = excluded.kind, amount_minor = excluded.amount_minor, currency = excluded.currency, state = excluded.state,
        inquiries = excluded.inquiries, inquire_at = excluded.inquire_at, updated_at = excluded.updated_at
    returning unique_id
)
select (select state from before) from written;

-- claim --
-- Take a lease on up to %(limit)s refunds that are due for an inquiry. Returns unique_id, attempt_id, account, kind, state, inquiries.
with due as (
    select unique_id
    from gateway_refunds
    where inquire_at <= %(now)s
    order by inquire_at
    limit %(limit)s
    for update skip locked
)
update gateway_refunds r
set inquire_at = %(leased_until)s
from due
where r.unique_id = due.unique_id
returning r.unique_id, r.attempt_id, r.account, r.kind, r.state, r.inquiries;

-- not_found --
-- Note that the gateway has no such payment; contradicted from the second such answer on that is %(apart_s)s seconds after the first.
update gateway_refunds
set
    not_found_count = not_found_count + 1, first_not_found_at = coalesce(first_not_found_at, %(now)s),
    inquiries = %(inquiries)s,
    state = case
        when first_not_found_at <= %(now)s - make_interval(secs => %(apart_s)s) then 'contradicted' else state
    end,
    inquire_at = case
        when first_not_found_at <= %(now)s - make_interval(secs => %(apart_s)s) then null
        else %(inquire_at)s::timestamptz
    end,
    updated_at = %(now)s
where unique_id = %(unique_id)s;

-- defer --
-- Inquire again later: the gateway did not answer.
update gateway_refunds set inquire_at = %(inquire_at)s where unique_id = %(unique_id)s;

-- of_attempt --
-- The gateway refunds of a debit, newest first, without those that Tether ordered.
select r.unique_id, r.kind, r.amount_minor, r.currency, r.state as status, r.first_seen_at, r.updated_at
from gateway_refunds r
where r.attempt_id = %(attempt_id)s and not exists (select from refunds g where g.unique_id = r.unique_id)
order by r.first_seen_at desc, r.unique_id;

-- holding --
-- The debits, among n, for which a gateway refund prevents refunds by Tether. Returns attempt_id, and whether it is approved.
select r.attempt_id, bool_or(r.state = 'approved')
from gateway_refunds r
where
    r.attempt_id = any(%(attempt_ids)s) and r.state in ('reported', 'pending', 'approved')
    and not exists (select from refunds g where g.unique_id = r.unique_id)
group by r.attempt_id;

-- own_ids --
-- Which of n ids, of the gateway or of Tether, belong to orders of Tether. Returns unique_id, transaction_id.
select unique_id, transaction_id
from refunds
where unique_id = any(%(unique_ids)s) or transaction_id = any(%(transaction_ids)s);
