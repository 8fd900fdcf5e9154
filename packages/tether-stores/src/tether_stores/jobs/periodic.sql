-- ticks: which periodic tasks were started, and for which time.
--
-- The worker that inserts a tick runs its periodic task in the same transaction; the others find that the row exists. So a tick runs
-- once with any number of workers, and after a worker died before its commit the next one takes it.

-- take --
-- Take a tick. Returns a row where it was free, none where somebody has it.
insert into ticks (periodic_task, tick_at, taken_at)
values (%(periodic_task)s, %(tick_at)s, %(now)s)
on conflict (periodic_task, tick_at) do nothing
returning tick_at;

-- prune --
-- Forget ticks from before a time; returns how many.
with gone as (delete from ticks where tick_at < %(before)s returning 1)
select count(*) from gone;
