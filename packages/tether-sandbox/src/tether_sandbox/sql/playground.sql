-- Queries of the playground.

-- age --
-- Let the debits of a run be older by %(by)s: so old that they may be refunded.
update billing_attempts set submitted_at = submitted_at - %(by)s::interval where run_id = %(run_id)s and submitted_at is not null;
