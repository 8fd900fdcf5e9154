-- billing_attempts: one try to collect one amount.
--
-- A row is committed before the gateway is called. From then on it only moves forward on its two tracks (see
-- tether_core.billing). Whoever changes rows locks them first, in the order of their ids, so that two workers with
-- notifications of the same payments wait for each other instead of deadlocking.

-- locked_by_ids --
-- Lock the attempts that n notifications speak of. Returns one row per attempt, locked until the transaction ends.
select
    id, account, transaction_id, unique_id, amount_minor, currency, payment_stage, dispute_stage, error_code,
    reason_code, iban_fingerprint, iban_masked
from billing_attempts
where unique_id = any(%(unique_ids)s) or transaction_id = any(%(transaction_ids)s)
order by id
for update;

-- move --
-- Write n attempts as they were decided. Arrays of length n.
update billing_attempts a
set
    unique_id = told.unique_id, state = told.state, payment_stage = told.payment_stage,
    dispute_stage = told.dispute_stage, error_code = told.error_code, reason_code = told.reason_code,
    updated_at = %(now)s
from unnest(
    %(ids)s::bigint[], %(unique_ids)s::text[], %(states)s::text[], %(payment_stages)s::smallint[],
    %(dispute_stages)s::smallint[], %(error_codes)s::text[], %(reason_codes)s::text[]
) as told (id, unique_id, state, payment_stage, dispute_stage, error_code, reason_code)
where a.id = told.id;

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select id, transaction_id, unique_id, state, amount_minor, currency, error_code, reason_code, debtor_id, updated_at
from billing_attempts
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(state)s::text is null or state = %(state)s)
    and (%(unique_id)s::text is null or unique_id = %(unique_id)s)
    and (%(transaction_id)s::text is null or transaction_id = %(transaction_id)s)
order by id desc
limit %(limit)s;

-- one --
-- One attempt, the columns of `listed`. 0 or 1 row.
select id, transaction_id, unique_id, state, amount_minor, currency, error_code, reason_code, debtor_id, updated_at
from billing_attempts
where id = %(id)s;

-- states --
-- How many attempts stand in each state. One row per state that occurs.
select state, count(*), sum(amount_minor)::bigint from billing_attempts group by state;
