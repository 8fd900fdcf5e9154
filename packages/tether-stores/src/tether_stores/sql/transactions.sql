-- transactions: how each of them begins.

-- begin --
-- Begin one, and bound by {freeze_ms} how long it may idle before Postgres ends its session: a frozen process cannot sit on
-- the rows it has locked. The bound is the transaction's own, so a pooler hands it to nobody else; and both are one
-- message, so it costs no round trip.
begin;
set local idle_in_transaction_session_timeout = {freeze_ms};
