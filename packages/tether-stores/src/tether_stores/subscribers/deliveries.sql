-- deliveries: one event to one subscriber (tether_core.subscribers.delivery).
--
-- A row is made when the position of its subscriber passes the event, or by a replay. A worker leases due rows, sends without any transaction,
-- and writes the result. A worker that dies leaves the lease, and after that another one sends again. Rows of one order key go one after
-- the other: a row is not leased while an earlier one of its key waits. At most WAITING_MAX rows of a subscriber wait; the others are still
-- in the outbox.

-- waiting_count --
-- How many deliveries of a subscriber wait, at most %(limit)s. 1 row.
select count(*) from (
    select from deliveries where subscriber_id = %(subscriber_id)s and state = 'waiting' limit %(limit)s
) as waiting;

-- add --
-- Make deliveries; those that exist stay as they are. Arrays of length n.
insert into deliveries (subscriber_id, event_id, event_name, account, order_key, state, due_at, created_at)
select %(subscriber_id)s, given.event_id, given.event_name, given.account, given.order_key, 'waiting', %(now)s, %(now)s
from unnest(%(event_ids)s::bigint[], %(event_names)s::text[], %(accounts)s::text[], %(order_keys)s::text[])
    as given (event_id, event_name, account, order_key)
on conflict (subscriber_id, event_id) do nothing;

-- reopen --
-- Send deliveries of some events again that have ended.
update deliveries
set state = 'waiting', due_at = %(now)s, failures = 0, ended_at = null, created_at = %(now)s
where subscriber_id = %(subscriber_id)s and event_id = any(%(event_ids)s) and state in ('delivered', 'given_up');

-- accounts_of --
-- The gateway accounts of attempts and notifications. n rows: kind, id, account.
select 'attempt' as kind, id, account from billing_attempts where id = any(%(attempt_ids)s)
union all
select 'notification', id, account from webhook_events where id = any(%(webhook_event_ids)s);

-- due --
-- Active subscribers that have a due delivery. n rows: id.
select s.id
from subscribers s
where s.state = 'active'
    and exists (
        select from deliveries d
        where d.subscriber_id = s.id and d.state = 'waiting' and d.due_at <= %(now)s
            and (d.leased_until is null or d.leased_until <= %(now)s)
    )
order by s.id;

-- claim --
-- Lease due deliveries of a subscriber, the oldest events first. Up to %(limit)s rows: what is needed to send them.
with chosen as (
    select d.id
    from deliveries d
    where d.subscriber_id = %(subscriber_id)s and d.state = 'waiting' and d.due_at <= %(now)s
        and (d.leased_until is null or d.leased_until <= %(now)s)
        and (
            d.order_key is null
            or not exists (
                select from deliveries earlier
                where earlier.subscriber_id = d.subscriber_id and earlier.order_key = d.order_key
                    and earlier.event_id < d.event_id and earlier.state = 'waiting'
            )
        )
    order by d.event_id
    limit %(limit)s
    for update skip locked
),
leased as (
    update deliveries d
    set leased_until = %(leased_until)s, tries = d.tries + 1
    from chosen
    where d.id = chosen.id
    returning d.id, d.subscriber_id, d.event_id, d.account, d.tries, d.failures
)
select
    leased.id, leased.subscriber_id, leased.event_id, leased.account, leased.tries, leased.failures,
    o.payload, o.occurred_at, s.url, s.sealed, s.old_secret_until
from leased
join subscribers s on s.id = leased.subscriber_id
left join outbox o on o.id = leased.event_id
order by leased.event_id;

-- put --
-- Write the result of a try that still has its lease, by the number of the try. 0 or 1 row: its id.
update deliveries
set
    state = %(state)s, due_at = %(due_at)s, leased_until = null, http_status = %(http_status)s, error = %(error)s,
    failures = %(failures)s, ended_at = %(ended_at)s
where id = %(delivery_id)s and tries = %(tries)s and state = 'waiting'
returning id;

-- add_try --
-- Note a try of a delivery that still exists; one of a number that is noted already changes nothing.
insert into delivery_tries (delivery_id, number, tried_at, took_ms, http_status, error)
select d.id, %(number)s, %(tried_at)s, %(took_ms)s, %(http_status)s, %(error)s
from deliveries d
where d.id = %(delivery_id)s
on conflict (delivery_id, number) do nothing;

-- bring_forward --
-- Make deliveries of a subscriber that wait for a retry due now.
update deliveries
set due_at = %(now)s
where subscriber_id = %(subscriber_id)s and state = 'waiting' and leased_until is null and due_at > %(now)s;

-- send_now --
-- Make a delivery that waits due now.
update deliveries
set due_at = %(now)s
where id = %(delivery_id)s and state = 'waiting' and leased_until is null and due_at > %(now)s;

-- drop_waiting --
-- Delete what waits for a removed subscriber; at most some thousand rows.
delete from deliveries where subscriber_id = %(subscriber_id)s and state = 'waiting';

-- {listed} --
-- As `Delivery`.
d.id, d.subscriber_id, d.event_id, d.event_name, d.account, d.order_key, d.state, d.tries, d.due_at, d.http_status, d.error, d.created_at,
d.ended_at

-- listed --
-- Deliveries of a subscriber, newest first; of %(state)s or of all. Up to %(limit)s rows with ids below %(before)s.
select {listed}
from deliveries d
where d.subscriber_id = %(subscriber_id)s and (%(state)s::text is null or d.state = %(state)s)
    and (%(before)s::bigint is null or d.id < %(before)s)
order by d.id desc
limit %(limit)s;

-- of_event --
-- Deliveries of an event. n rows.
select {listed} from deliveries d where d.event_id = %(event_id)s order by d.id desc limit %(limit)s;

-- by_id --
-- One delivery. 0 or 1 row.
select {listed} from deliveries d where d.id = %(delivery_id)s;

-- tries --
-- The tries of a delivery, newest first. Up to %(limit)s rows.
select number, tried_at, took_ms, http_status, error
from delivery_tries
where delivery_id = %(delivery_id)s
order by number desc
limit %(limit)s;

-- prune --
-- Delete deliveries that ended before a time, with their tries. Up to %(limit)s rows: their ids.
delete from deliveries
where id in (
    select id from deliveries where ended_at < %(before)s order by ended_at limit %(limit)s for update skip locked
)
returning id;
