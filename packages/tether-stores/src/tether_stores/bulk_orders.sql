-- bulk_orders: one action for everything that matches a filter (tether_core.bulk_orders), and bulk_order_items, what became of each row.
--
-- An order goes through the rows that match, the newest first, a batch in a transaction: each row gets what a single order would do to it,
-- or the reason why not is kept, and the position moves behind the batch. So a worker that dies leaves whole batches. An order is stopped
-- between two batches. Items are never deleted.

-- {order_columns} --
-- An order.
id, action, filters::text as filters, reason, ordered_by, state, created_at, updated_at, ended_at

-- add --
-- Place an order that begins before a row and a time. Returns its id.
insert into bulk_orders (
    action, filters, reason, ordered_by, actor_kind, actor_id, address, state, position, position_at, created_at, updated_at
)
values (
    %(action)s, %(filters)s, %(reason)s, %(ordered_by)s, %(actor_kind)s, %(actor_id)s, %(address)s, 'working', %(position)s,
    %(position_at)s, %(now)s, %(now)s
)
returning id;

-- by_id --
-- One order. 0 or 1 row.
select {order_columns}
from bulk_orders
where id = %(id)s;

-- listed --
-- Orders, newest first. Up to %(limit)s rows before a row; filters that are null do not filter. Orders are few: retention removes old ones.
select {order_columns}
from bulk_orders
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(action)s::text is null or action = %(action)s)
    and (%(state)s::text is null or state = %(state)s)
order by id desc
limit %(limit)s;

-- any_working --
-- Whether any order is being worked on. One row.
select exists (select from bulk_orders where state = 'working');

-- take --
-- Lock an order that is being worked on, and that no other worker has. 0 or 1 row.
select {order_columns}, position, position_at, actor_kind, actor_id, address
from bulk_orders
where state = 'working'
order by id
limit 1
for update skip locked;

-- advance --
-- Move the position of an order, or finish it.
update bulk_orders
set
    position = %(position)s, position_at = %(position_at)s, updated_at = %(now)s,
    state = case when %(finished)s then 'finished' else state end,
    ended_at = case when %(finished)s then %(now)s::timestamptz end
where id = %(id)s;

-- stop --
-- Stop an order that is being worked on. Returns its id, or no row.
update bulk_orders
set state = 'stopped', updated_at = %(now)s, ended_at = %(now)s
where id = %(id)s and state = 'working'
returning id;

-- add_items --
-- Keep what became of n rows. Arrays of length n.
insert into bulk_order_items (order_id, subject_id, amount_minor, currency, refused, refused_reason)
select %(id)s, item.subject_id, item.amount_minor, item.currency, item.refused, item.refused_reason
from unnest(
    %(subject_ids)s::bigint[], %(amounts_minor)s::bigint[], %(currencies)s::text[], %(refuseds)s::text[], %(refused_reasons)s::text[]
) as item (subject_id, amount_minor, currency, refused, refused_reason);

-- progress --
-- What became of the rows of an order so far. One row per result and currency.
select refused, currency, count(*) as count, coalesce(sum(amount_minor), 0)::bigint as amount_minor
from bulk_order_items
where order_id = %(id)s
group by refused, currency
order by refused nulls first, currency;

-- items --
-- Items of an order, the newest row first. Up to %(limit)s rows before a row.
select subject_id as id, amount_minor, currency, refused, refused_reason
from bulk_order_items
where order_id = %(id)s and (%(before)s::bigint is null or subject_id < %(before)s)
order by subject_id desc
limit %(limit)s;

-- {attempt_columns} from payments/billing_attempts --

-- lock_debits --
-- Lock n debits until this transaction ends, in the order of their ids.
select id from billing_attempts where id = any(%(ids)s::bigint[]) order by id for update;

-- lock_notifications --
-- Lock n notifications until this transaction ends, in the order of their ids.
select id from webhook_events where id = any(%(ids)s::bigint[]) order by id for update;

-- lock_entries --
-- Lock n blacklist entries until this transaction ends, in the order of their ids.
select id from blacklist where id = any(%(ids)s::bigint[]) order by id for update;

-- lock_uploads --
-- Lock n uploads until this transaction ends, in the order of their ids.
select id from uploads where id = any(%(ids)s::bigint[]) order by id for update;

-- lock_schedules --
-- Lock n schedules until this transaction ends, in the order of their ids.
select id from collection_schedules where id = any(%(ids)s::bigint[]) order by id for update;

-- lock_due_items --
-- Lock n due items until this transaction ends, after their schedules: who ends a schedule locks it before its due items.
with locked as materialized (
    select s.id
    from collection_schedules s
    where s.id in (select i.schedule_id from due_items i where i.id = any(%(ids)s::bigint[]))
    order by s.id
    for update
)
select i.id
from due_items i
where i.id = any(%(ids)s::bigint[]) and (select count(*) from locked) > 0
order by i.id
for update;

-- lock_deliveries --
-- Lock n deliveries until this transaction ends, in the order of their ids.
select id from deliveries where id = any(%(ids)s::bigint[]) order by id for update;

-- debits --
-- n debits with what decides about an inquiry, a void or a refund. One row each, in the order of their ids.
select
    {attempt_columns}, coalesce(a.submitted_at, a.created_at) as debited_at, a.submission_count > 0 as is_submitted,
    a.submission_count > a.submissions_uncounted or a.unique_id is not null as is_inquirable, g.kind as ordered
from billing_attempts a
left join lateral (
    -- One is enough to know; the limit keeps Postgres from reading all refunds.
    select kind from refunds where attempt_id = a.id and state in ('pending', 'unknown', 'approved', 'refunded') limit 1
) g on true
where a.id = any(%(ids)s::bigint[])
order by a.id;

-- notifications --
-- n notifications with their state, and the money of the payment that each is about. One row each, in the order of their ids.
select e.id, e.state, a.amount_minor, a.currency
from webhook_events e
left join billing_attempts a on a.id = e.attempt_id
where e.id = any(%(ids)s::bigint[])
order by e.id;

-- entries --
-- n blacklist entries with their state. One row each, in the order of their ids.
select id, case when lifted_at is null then 'active' else 'lifted' end as state, null::bigint as amount_minor, null::text as currency
from blacklist
where id = any(%(ids)s::bigint[])
order by id;

-- schedules --
-- n schedules with their state and the money of a due date. One row each, in the order of their ids.
select s.id, s.state, s.amount_minor, d.currency
from collection_schedules s
join debtors d on d.id = s.debtor_id
where s.id = any(%(ids)s::bigint[])
order by s.id;

-- due_items --
-- n due items with their state and money. One row each, in the order of their ids.
select i.id, i.state, i.amount_minor, d.currency
from due_items i
join debtors d on d.id = i.debtor_id
where i.id = any(%(ids)s::bigint[])
order by i.id;

-- deliveries --
-- n deliveries with their state, which is "removed" where their subscriber is. One row each, in the order of their ids.
select d.id, case when s.state = 'removed' then 'removed' else d.state end as state, null::bigint as amount_minor, null::text as currency
from deliveries d
join subscribers s on s.id = d.subscriber_id
where d.id = any(%(ids)s::bigint[])
order by d.id;
