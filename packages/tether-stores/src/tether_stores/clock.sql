-- clock: no table, one query. All nodes use the clock of Postgres, see tether_stores.clock.

-- now --
-- The current time by the clock of Postgres' machine. One row.
select clock_timestamp();
