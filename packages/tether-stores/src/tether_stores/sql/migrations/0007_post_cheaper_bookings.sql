-- What each booked notification paid for without anybody's use of it.

-- Followers read the outbox by id and keep their own place (GET /api/events); what was handed on is noted by nobody.
drop index outbox_unrelayed;
alter table outbox drop column relayed_at;

-- Both are written by a transaction that holds the row they name, and no row of either table is ever deleted. The checks were a
-- third of what writing a batch cost.
alter table outbox drop constraint outbox_webhook_event_id_fkey;
alter table webhook_events drop constraint webhook_events_attempt_id_fkey;

-- billing_attempts_try_once begins with the debtor, too.
drop index billing_attempts_by_debtor;
