-- What a storm asks about while it rages.

-- state_of --
-- The state of the attempt %(unique_id)s. One row.
select state from billing_attempts where unique_id = %(unique_id)s;
