-- ticks: what periodic tasks have been begun, and for which time.
--
-- Whoever inserts a tick does its periodic task, in the same transaction; all others find that the row exists. So a tick is
-- done once however many workers are up, and one whose worker died before its commit is taken by the next.

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
