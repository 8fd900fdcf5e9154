-- What a conservation check reads. Whole tables, so for sandboxes and tests only.

-- inbox --
-- How many notifications stand where, and why. One row per state and reason: state, reason, rows.
select state, coalesce(reason, ''), count(*) from webhook_events group by 1, 2;

-- attempts --
-- Every attempt the gateway knows: unique_id, state.
select unique_id, state from billing_attempts where unique_id is not null;

-- entries --
-- Every entry that a returned debit caused: the debit's unique_id, the reason, the action.
select a.unique_id, b.reason_code, b.action
from blacklist b
join billing_attempts a on a.id = b.attempt_id
where b.source = 'chargeback';

-- histories --
-- The booked notifications of every attempt in the order they were recorded: attempt id, content type, body.
select attempt_id, content_type, body
from webhook_events
where state = 'processed' and attempt_id is not null
order by attempt_id, id;

-- contents --
-- What every notification on record said: the SHA-256 of its body, and whether it is kept aside as conflicting.
select sha256(body), state = 'conflicting' from webhook_events;

-- moves --
-- Every fact told of an attempt, in the order told: the event.
select payload from outbox where name = 'attempt_moved' order by id;
