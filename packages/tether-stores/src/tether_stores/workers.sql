-- workers, supervisors: which processes live.
--
-- A worker inserts its row when it starts, writes `seen_at` and what it does every few seconds, and removes the row when it ends. A row
-- whose process was killed stops being seen; it is ignored from then on (tether_core.scaling.LIVE_S), and removed after an hour by any
-- other process. A supervisor's row lives the same way.
--
-- An order to restart all workers is a row of worker_restarts. A worker that started before the latest one ends; a supervisor ends its own
-- workers one after the other, each once another has taken its place.

-- seen --
-- Write that a worker lives.
insert into workers (
    id, supervisor_id, pool, host, pid, version, queues, state, memory_bytes, activity, started_at, seen_at
)
values (
    %(id)s, %(supervisor_id)s, %(pool)s, %(host)s, %(pid)s, %(version)s, %(queues)s, %(state)s, %(memory_bytes)s,
    %(activity)s, %(now)s, %(now)s
)
on conflict (id) do update
set state = excluded.state, memory_bytes = excluded.memory_bytes, activity = excluded.activity, seen_at = excluded.seen_at;

-- supervisor_seen --
-- Write that a supervisor lives.
insert into supervisors (id, host, pid, version, state, pools, started_at, seen_at)
values (%(id)s, %(host)s, %(pid)s, %(version)s, %(state)s, %(pools)s, %(now)s, %(now)s)
on conflict (id) do update set state = excluded.state, pools = excluded.pools, seen_at = excluded.seen_at;

-- ended --
-- Remove the rows of workers that have ended.
delete from workers where id = any(%(ids)s);

-- supervisor_ended --
-- Remove the row of a supervisor that has ended.
delete from supervisors where id = %(id)s;

-- prune --
-- Remove the rows of workers that were not seen since a time.
delete from workers where seen_at < %(before)s;

-- supervisors_prune --
-- Remove the rows of supervisors that were not seen since a time.
delete from supervisors where seen_at < %(before)s;

-- live --
-- The workers seen since %(since)s, oldest first.
select id, supervisor_id, pool, host, pid, version, queues, state, memory_bytes, activity::text, started_at, seen_at
from workers
where seen_at >= %(since)s
order by started_at, id;

-- supervisors_live --
-- The supervisors seen since %(since)s, oldest first.
select id, host, pid, version, state, pools::text, started_at, seen_at
from supervisors
where seen_at >= %(since)s
order by started_at, id;

-- order_restart --
-- Order the restart of all workers that have started by now. Returns the order.
insert into worker_restarts (ordered_at, ordered_by, reason)
values (%(now)s, %(ordered_by)s, %(reason)s)
on conflict (ordered_at) do update set reason = excluded.reason
returning ordered_at, ordered_by, reason;

-- last_restart --
-- The latest order to restart, or no row.
select ordered_at, ordered_by, reason from worker_restarts order by ordered_at desc limit 1;
