-- subscribers: other systems to which events are sent (tether_core.subscribers.subscriber).
--
-- sealed holds the secrets that sign, encrypted under TETHER_SECRETS_KEY. A row is never deleted, because the audit names it; a removed
-- one has no secrets any more. `position` moves along the outbox in the transaction that makes the deliveries, under the lock of the row.

-- {columns} --
-- As `Subscriber`, but for what is counted.
s.id, s.name, s.url, s.types, s.accounts, s.state, s.disabled_reason, s.old_secret_until, s.position, s.failing_since_at, s.delivered_at,
s.created_by, s.created_at, s.updated_at

-- {counted} --
-- How many deliveries wait, at most %(waiting_max)s, and how many events of the outbox are not looked at yet.
(
    select count(*)
    from (select from deliveries d where d.subscriber_id = s.id and d.state = 'waiting' limit %(waiting_max)s) as waiting
) as waiting,
greatest((select coalesce(max(o.id), 0) from outbox o) - s.position, 0) as behind

-- all_subscribers --
-- Up to %(limit)s subscribers that are not removed, by name.
select {columns}, {counted} from subscribers s where s.state <> 'removed' order by s.name limit %(limit)s;

-- by_id --
-- One subscriber that is not removed. 0 or 1 row.
select {columns}, {counted} from subscribers s where s.id = %(subscriber_id)s and s.state <> 'removed';

-- hold --
-- One subscriber that is not removed, locked. 0 or 1 row.
select {columns}, 0 as waiting, 0 as behind
from subscribers s where s.id = %(subscriber_id)s and s.state <> 'removed' for update;

-- hold_to_add --
-- Make those who add subscribers wait for each other. 1 row.
select pg_advisory_xact_lock(hashtext('subscribers are added'));

-- count --
-- How many there are, without removed ones. 1 row.
select count(*) from subscribers where state <> 'removed';

-- add --
-- A new subscriber. 1 row: its id; none where another has the name.
insert into subscribers (name, url, types, accounts, state, sealed, position, created_by, created_at, updated_at)
values (
    %(name)s, %(url)s, %(types)s, %(accounts)s, 'active', '', coalesce(%(position)s, (select coalesce(max(id), 0) from outbox)),
    %(created_by)s, %(now)s, %(now)s
)
on conflict (name) where state <> 'removed' do nothing
returning id;

-- put_secrets --
-- Replace the secrets.
update subscribers
set sealed = %(sealed)s, old_secret_until = %(old_secret_until)s, updated_at = %(now)s
where id = %(subscriber_id)s;

-- sealed --
-- The secrets of a subscriber. 0 or 1 row.
select sealed from subscribers where id = %(subscriber_id)s;

-- change --
-- Replace what a person may change. No row where another subscriber has the name.
update subscribers
set name = %(name)s, url = %(url)s, types = %(types)s, accounts = %(accounts)s, updated_at = %(now)s
where id = %(subscriber_id)s
    and not exists (
        select from subscribers other where other.name = %(name)s and other.id <> %(subscriber_id)s and other.state <> 'removed'
    )
returning id;

-- put_state --
-- Write a state that `tether_core.subscribers.subscriber` decided.
update subscribers
set
    state = %(state)s, disabled_reason = %(disabled_reason)s, updated_at = %(now)s,
    failing_since_at = case when %(state)s = 'active' then null else failing_since_at end,
    sealed = case when %(state)s = 'removed' then '' else sealed end
where id = %(subscriber_id)s;

-- with_work --
-- Active subscribers whose position is before %(up_to)s or that have a replay to do. n rows: id.
select s.id
from subscribers s
where s.state = 'active'
    and (s.position < %(up_to)s or exists (select from replays r where r.subscriber_id = s.id and r.finished_at is null))
order by s.id;

-- hold_position --
-- The position and the filters of an active subscriber, locked; none while another worker holds it. 0 or 1 row.
select position, types, accounts
from subscribers
where id = %(subscriber_id)s and state = 'active'
for update skip locked;

-- advance --
-- Move the position.
update subscribers set position = %(position)s where id = %(subscriber_id)s;

-- succeeded --
-- Note a success. 0 or 1 row: since when it had been failing before; none where it was not.
update subscribers s
set failing_since_at = null, delivered_at = %(now)s
from subscribers before
where s.id = %(subscriber_id)s and before.id = s.id and before.failing_since_at is not null
returning before.failing_since_at;

-- failed --
-- Note a failure. 1 row: since when it has been failing, and its state.
update subscribers
set failing_since_at = coalesce(failing_since_at, %(now)s)
where id = %(subscriber_id)s
returning failing_since_at, state;

-- delivered --
-- Note the time of the last success, every minute at most.
update subscribers
set delivered_at = %(now)s
where id = %(subscriber_id)s and (delivered_at is null or delivered_at < %(now)s::timestamptz - interval '1 minute');
