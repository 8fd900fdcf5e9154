-- stated_outcomes: what people stated about submissions that nobody can inquire about any more (tether_core.stated_outcomes).
--
-- A row is written in the transaction that closes the debit, or the refund or void of it, and never changed. The review of
-- differences compares it with what the gateway says later.

-- record --
-- Keep a statement. refund_id is null for the debit itself.
insert into stated_outcomes (attempt_id, refund_id, outcome, unique_id, reason, stated_by, stated_at)
values (%(attempt_id)s, %(refund_id)s, %(outcome)s, %(unique_id)s, %(reason)s, %(by)s, %(now)s)
returning id;

-- of_attempt --
-- The statements about a debit, and its refunds and voids, oldest first: id, attempt_id, refund_id, outcome, unique_id, reason,
-- stated_by, stated_at.
select id, attempt_id, refund_id, outcome, unique_id, reason, stated_by, stated_at
from stated_outcomes
where attempt_id = %(attempt_id)s
order by id;

-- latest --
-- What was stated last of n debits: attempt_id, outcome. 0 to n rows.
select distinct on (attempt_id) attempt_id, outcome
from stated_outcomes
where attempt_id = any(%(attempt_ids)s) and refund_id is null
order by attempt_id, id desc;

-- latest_of_refunds --
-- What was stated last of the refunds and voids of n debits: refund_id, outcome. 0 to n rows.
select distinct on (refund_id) refund_id, outcome
from stated_outcomes
where attempt_id = any(%(attempt_ids)s) and refund_id is not null
order by refund_id, id desc;

-- named --
-- Which other debit, refund or void of Tether has an id of the gateway. 0 to n rows.
select 'debit' from billing_attempts where unique_id = %(unique_id)s and id is distinct from %(attempt_id)s
union all
select kind from refunds where unique_id = %(unique_id)s and id is distinct from %(refund_id)s;
