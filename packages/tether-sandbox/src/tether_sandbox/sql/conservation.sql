-- Queries of the conservation check. They read whole tables, so they are for sandboxes and tests only.

-- inbox --
-- Number of notifications by state and reason: state, reason, rows. Without those of billed debits, which the simulator
-- accounts for, and without fetched report records, which are not deliveries.
select e.state, coalesce(e.reason, ''), count(*)
from webhook_events e
left join billing_attempts a on a.id = e.attempt_id
where a.run_id is null and e.source = 'webhook'
group by 1, 2;

-- attempts --
-- Every attempt: unique_id or null, transaction_id, state, whether it has a billing run, its first stages.
select
    a.unique_id, a.transaction_id, a.state, a.run_id is not null, coalesce(i.payment_stage, 0),
    coalesce(i.dispute_stage, 0)
from billing_attempts a
left join imported_attempts i on i.attempt_id = a.id;

-- entries --
-- Every blacklist entry that a chargeback caused: the debit's unique_id, the reason, the action.
select a.unique_id, b.reason_code, b.action
from blacklist b
join billing_attempts a on a.id = b.attempt_id
where b.source = 'chargeback' and a.run_id is null;

-- histories --
-- The applied notifications of every attempt in the order they were stored: attempt id, content type, body, the attempt's
-- first stages, amount and currency.
select
    e.attempt_id, e.content_type, e.body, coalesce(i.payment_stage, 0), coalesce(i.dispute_stage, 0), a.amount_minor,
    a.currency
from webhook_events e
join billing_attempts a on a.id = e.attempt_id
left join imported_attempts i on i.attempt_id = e.attempt_id
where e.state = 'processed' and e.attempt_id is not null
order by e.attempt_id, e.id;

-- contents --
-- Every stored notification: the SHA-256 of its body, and whether it is conflicting. Without those of billed debits and
-- without fetched report records.
select sha256(e.body), e.state = 'conflicting'
from webhook_events e
left join billing_attempts a on a.id = e.attempt_id
where a.run_id is null and e.source = 'webhook';

-- fetched_open --
-- Fetched report records that are not applied. One row per state: state, rows.
select state, count(*) from webhook_events where source <> 'webhook' and state <> 'processed' group by state;

-- effects --
-- One row: the number of `iban.blocked` events, and the number of applied notifications that a status inquiry confirmed.
select
    (select count(*) from outbox where name = 'iban.blocked'),
    (select count(*) from webhook_events where state = 'processed' and source = 'webhook' and confirmed_at is not null);

-- moves --
-- Every `attempt.status_changed` event, in order.
select payload from outbox where name = 'attempt.status_changed' order by id;
