-- Followers read the outbox by id and keep their own place (GET /api/events), so what was handed on is noted by nobody. The index
-- cost each booked notification an entry.

drop index outbox_unrelayed;
alter table outbox drop column relayed_at;
