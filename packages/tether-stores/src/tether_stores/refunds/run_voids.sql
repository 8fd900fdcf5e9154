-- run_voids: orders to void a whole billing run (tether_core.refunds.run_voids), and run_void_debits, the result for each of its debits.
--
-- An order goes through the debits of its run in the order of their ids, a batch in a transaction: for each debit a void is ordered
-- (refunds.sql), or the reason is kept why not, and the position moves behind the batch. So a worker that dies leaves whole
-- batches. One order works on a run at a time; a finished one never changes, and another may follow it.

-- {attempt_columns} from payments/billing_attempts --

-- add --
-- Order a run to be voided, unless such an order is being worked on. Returns id, or no row.
insert into run_voids (run_id, state, usage, reason, ordered_by, created_at, updated_at)
values (%(run_id)s, 'working', %(usage)s, %(reason)s, %(ordered_by)s, %(now)s, %(now)s)
on conflict do nothing
returning id;

-- {void_columns} --
-- An order to void a run.
id, run_id, state, usage, reason, ordered_by, created_at, updated_at, finished_at

-- working --
-- The order that is being worked on for a run. 0 or 1 row: the columns of `by_id`.
select {void_columns}
from run_voids
where run_id = %(run_id)s and state = 'working';

-- by_id --
-- One order. 0 or 1 row.
select {void_columns}
from run_voids
where id = %(id)s;

-- of_run --
-- The latest hundred orders of a run, newest first; the columns of `by_id`.
select {void_columns}
from run_voids
where run_id = %(run_id)s
order by id desc
limit 100;

-- any_working --
-- Whether any order is being worked on. One row.
select exists (select from run_voids where state = 'working');

-- take --
-- Hold an order that is being worked on, and no other worker holds. 0 or 1 row: id, run_id, usage, ordered_by, position.
select id, run_id, usage, ordered_by, position
from run_voids
where state = 'working'
order by id
limit 1
for update skip locked;

-- debits --
-- Up to %(limit)s debits of a run behind one of them. The columns of an attempt, when it was submitted, or made where it was not yet,
-- whether a call was ever begun for it, and the id and the kind of the order about it that is active, or null.
select
    {attempt_columns}, coalesce(a.submitted_at, a.created_at) as debited_at, a.submission_count > 0 as is_submitted,
    g.id as refund_id, g.kind as ordered
from billing_attempts a
left join lateral (
    -- Two are active where the gateway approved one after all that had failed.
    select r.id, r.kind
    from refunds r
    where r.attempt_id = a.id and r.state in ('pending', 'unknown', 'approved', 'refunded')
    order by r.number desc
    limit 1
) g on true
where (a.run_id, a.id) > (%(run_id)s, %(after)s) and (a.run_id, a.id) <= (%(run_id)s, 9223372036854775807)
order by a.run_id, a.id  -- as a range: with an equality Postgres may walk along the debits of all other runs
limit %(limit)s;

-- hold_debits --
-- Hold up to %(limit)s debits of a run behind one of them until this transaction ends. Their ids, in order.
select id
from billing_attempts
where (run_id, id) > (%(run_id)s, %(after)s) and (run_id, id) <= (%(run_id)s, 9223372036854775807)
order by run_id, id
limit %(limit)s
for update;

-- judged --
-- Write the results for n debits. Arrays of length n.
insert into run_void_debits (void_id, attempt_id, amount_minor, refund_id, refused, refused_reason)
select %(void_id)s, judged.attempt_id, judged.amount_minor, judged.refund_id, judged.refused, judged.refused_reason
from unnest(
    %(attempt_ids)s::bigint[], %(amounts_minor)s::bigint[], %(refund_ids)s::bigint[], %(refuseds)s::text[],
    %(becauses)s::text[]
) as judged (attempt_id, amount_minor, refund_id, refused, refused_reason);

-- advance --
-- Move the position of an order, or finish it.
update run_voids
set
    position = %(position)s, updated_at = %(now)s, state = case when %(finished)s then 'finished' else state end,
    finished_at = case when %(finished)s then %(now)s::timestamptz end
where id = %(id)s;

-- progress --
-- The results for the debits of an order so far. One row per result: why they are not voided, or the state of their void; count, sum.
select d.refused, g.state as void_state, count(*) as count, sum(d.amount_minor)::bigint as amount_minor
from run_void_debits d
left join refunds g on g.id = d.refund_id
where d.void_id = %(id)s
group by d.refused, g.state
order by d.refused, g.state;

-- listed --
-- Up to %(limit)s debits of an order behind one of them: attempt_id, amount_minor, refund_id, state and error code of the void,
-- refused, refused_reason. With %(refused_only)s only those that are not voided.
select
    d.attempt_id, d.amount_minor, d.refund_id as void_id, g.state as void_status, g.error_code, d.refused,
    coalesce(d.refused_reason, g.not_submitted_reason) as reason
from run_void_debits d
left join refunds g on g.id = d.refund_id
where d.void_id = %(id)s and d.attempt_id > %(after)s and (not %(refused_only)s or d.refused is not null)
order by d.attempt_id
limit %(limit)s;
