-- ticks: what standing duties have been begun, and for which moment.
--
-- Whoever inserts a tick does its duty, in the same transaction; all others find that the row exists. So a tick is
-- done once however many workers are up, and one whose worker died before its commit is taken by the next.

-- take --
-- Take a tick. Returns a row where it was free, none where somebody has it.
insert into ticks (duty, tick_at, taken_at)
values (%(duty)s, %(tick_at)s, %(now)s)
on conflict (duty, tick_at) do nothing
returning tick_at;

-- prune --
-- Forget ticks from before a moment; returns how many.
with gone as (delete from ticks where tick_at < %(before)s returning 1)
select count(*) from gone;
