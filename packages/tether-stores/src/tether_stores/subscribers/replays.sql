-- replays: orders to send a range of events to a subscriber again.
--
-- A row is done in turns: each turn makes some deliveries and moves the position in one transaction, under the lock of the subscriber. At
-- most one replay of a subscriber is open.

-- {columns} --
-- As `Replay`.
id, subscriber_id, types, position, up_to, replayed, ordered_by, reason, created_at, finished_at

-- add --
-- A new replay. 1 row; none while another one of the subscriber is open.
insert into replays (subscriber_id, types, position, up_to, ordered_by, reason, created_at)
values (%(subscriber_id)s, %(types)s, %(after)s, %(up_to)s, %(ordered_by)s, %(reason)s, %(now)s)
on conflict (subscriber_id) where finished_at is null do nothing
returning {columns};

-- hold_open --
-- The open replay of a subscriber, locked. 0 or 1 row.
select {columns} from replays where subscriber_id = %(subscriber_id)s and finished_at is null for update;

-- advance --
-- Note how far a replay has come.
update replays
set position = %(position)s, replayed = replayed + %(count)s, finished_at = %(finished_at)s
where id = %(replay_id)s;

-- of_subscriber --
-- Replays of a subscriber, newest first. Up to %(limit)s rows.
select {columns} from replays where subscriber_id = %(subscriber_id)s order by id desc limit %(limit)s;

-- first_from --
-- The first event with an id of at least %(event_id)s. 0 or 1 row: id, time.
select id, occurred_at from outbox where id >= %(event_id)s order by id limit 1;

-- newest --
-- The newest event. 1 row.
select coalesce(max(id), 0) from outbox;
