-- What a conservation check reads. Whole tables, so for sandboxes and tests only.

-- inbox --
-- How many notifications stand where, and why. One row per state and reason: state, reason, rows. Those of debits that were
-- billed here have books of their own, at the gateway; what we asked for ourselves nobody sent.
select e.state, coalesce(e.reason, ''), count(*)
from webhook_events e
left join billing_attempts a on a.id = e.attempt_id
where a.run_id is null and e.source = 'webhook'
group by 1, 2;

-- attempts --
-- Every attempt: unique_id or null, transaction_id, state, whether it was billed here, and the stages at which it began.
select
    a.unique_id, a.transaction_id, a.state, a.run_id is not null, coalesce(i.payment_stage, 0),
    coalesce(i.dispute_stage, 0)
from billing_attempts a
left join imported_attempts i on i.attempt_id = a.id;

-- entries --
-- Every entry that a returned debit caused: the debit's unique_id, the reason, the action.
select a.unique_id, b.reason_code, b.action
from blacklist b
join billing_attempts a on a.id = b.attempt_id
where b.source = 'chargeback' and a.run_id is null;

-- histories --
-- The applied notifications of every attempt in the order they were recorded: attempt id, content type, body, the stages at
-- which the attempt began, its amount and currency.
select
    e.attempt_id, e.content_type, e.body, coalesce(i.payment_stage, 0), coalesce(i.dispute_stage, 0), a.amount_minor,
    a.currency
from webhook_events e
join billing_attempts a on a.id = e.attempt_id
left join imported_attempts i on i.attempt_id = e.attempt_id
where e.state = 'processed' and e.attempt_id is not null
order by e.attempt_id, e.id;

-- contents --
-- What every stored notification said: the SHA-256 of its body, and whether it is kept aside as conflicting. Those of
-- debits that were billed here are excluded, and what we asked for ourselves.
select sha256(e.body), e.state = 'conflicting'
from webhook_events e
left join billing_attempts a on a.id = e.attempt_id
where a.run_id is null and e.source = 'webhook';

-- fetched_open --
-- What we asked for ourselves and did not book. One row per state: state, rows.
select state, count(*) from webhook_events where source <> 'webhook' and state <> 'processed' group by state;

-- effects --
-- One row: how often it was told that a return put an account on the blacklist, and how many applied notifications the gateway
-- was asked about first.
select
    (select count(*) from outbox where name = 'iban.blocked'),
    (select count(*) from webhook_events where state = 'processed' and source = 'webhook' and confirmed_at is not null);

-- moves --
-- Every fact told of an attempt, in the order told: the event.
select payload from outbox where name = 'attempt.status_changed' order by id;
