-- clock: no table, one question. All nodes tell the time by Postgres, see tether_stores.clock.

-- now --
-- The current time by the clock of Postgres' machine. One row.
select clock_timestamp();
