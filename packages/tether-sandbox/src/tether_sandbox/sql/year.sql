-- Queries of the played year.

-- last_event --
-- The newest event. One row.
select coalesce(max(id), 0) from outbox;

-- leased --
-- Whether a debit is at the gateway and its response is not recorded. One row.
select exists (select from billing_attempts where leased_until is not null);

-- paused_runs --
-- The billing runs that are paused.
select id from billing_runs where state = 'paused' order by id;

-- waiting_deliveries --
-- Whether an event waits for a subscriber. One row.
select exists (select from deliveries where state = 'waiting');

-- schedules --
-- Every schedule: id, plan, first due date, day and time of its beginning, and when it ended; null for never.
select id, collection_plan_id, first_due_on, created_at, case when state = 'ended' then updated_at end
from collection_schedules
order by id;

-- due_items --
-- Every due item: id, schedule, debtor, name, due date, state, and when it was made.
select id, schedule_id, debtor_id, due_item, due_on, state, created_at from due_items order by id;

-- notices --
-- Every pre-notification: id, due item, days of notice, and when it was given; null for not.
select id, due_item_id, notice_days, given_at from pre_notifications order by id;

-- attempts --
-- Every billing attempt: id, debtor, due item, number of the try, transaction_id, state, amount, when it was submitted, and the day on which
-- it may be tried again after its return.
select id, debtor_id, due_item, try_number, transaction_id, state, amount_minor, submitted_at, retry_on
from billing_attempts
order by id;

-- inbox --
-- The notifications and fetched records: source, state, and how many.
select source, state, count(*) from webhook_events group by source, state;

-- outbox --
-- Every event: id, name, content and time.
select id, name, payload, occurred_at from outbox order by id;

-- deliveries --
-- The log of deliveries: subscriber, event, state, and number of tries that it has.
select s.name, d.event_id, d.state, (select count(*) from delivery_tries t where t.delivery_id = d.id)
from deliveries d
join subscribers s on s.id = d.subscriber_id;
