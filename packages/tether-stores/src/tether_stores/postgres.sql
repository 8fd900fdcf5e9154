-- transactions: how each of them begins.

-- begin --
-- Begin one, and bound by {freeze_ms} how long it may idle before Postgres ends its session: a frozen process cannot sit on
-- the rows it has locked. The bound is the transaction's own, so a pooler hands it to nobody else; and both are one
-- message, so it costs no round trip.
begin;
set local idle_in_transaction_session_timeout = {freeze_ms};

-- read --
-- Begin one that only reads, and bound its statements by {timeout_ms} as well: a search through the whole of a table must not
-- hold a connection for minutes after the client has gone away.
begin read only;
set local statement_timeout = {timeout_ms};
set local idle_in_transaction_session_timeout = {freeze_ms};

-- backend --
-- The process id of the server's end of this connection. Behind a pooler it is another one than the pooler has named to the client.
select pg_backend_pid();

-- look_ups --
-- For the rest of a session that no other client uses: never plan to read a whole table, and keep one plan for each statement.
-- Otherwise a statement for few rows is planned anew each time, which costs more than doing it: Postgres compares with a plan for ten
-- rows, because it does not know how many an array has.
set enable_seqscan = off;
set plan_cache_mode = force_generic_plan;
