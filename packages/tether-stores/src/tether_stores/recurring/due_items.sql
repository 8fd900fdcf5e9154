-- due_items: what schedules owe on their due dates (tether_core.recurring.due_item).
--
-- An item that waits has collect_on, the day from which it is ordered; it is null while the item waits for its pre-notification. Ordering makes a
-- billing attempt of the same debtor and due item in a run of the plan, in one transaction under the plan's lock.

-- {was_account_changed} from recurring/mandates --

-- {item_columns} --
-- The columns of a due item `i`.
i.id, i.schedule_id, i.collection_plan_id, i.upload_id, i.debtor_id, i.due_on, i.due_item, i.amount_minor, i.is_last, i.state,
i.collect_from_on, i.collect_on, i.reason, i.sequence, i.request, i.run_id, i.ordered_on, i.created_at, i.updated_at

-- add --
-- Add due items. Arrays of length n. Returns id, schedule_id, due_on of those added; a due date that has an item gets none.
insert into due_items (
    schedule_id, collection_plan_id, upload_id, debtor_id, due_on, due_item, amount_minor, is_last, state, collect_from_on, collect_on,
    reason, created_at, updated_at
)
select
    given.schedule_id, given.collection_plan_id, given.upload_id, given.debtor_id, given.due_on, given.due_item, given.amount_minor,
    given.is_last, given.state, given.collect_on, given.collect_on, given.reason, %(now)s, %(now)s
from unnest(
    %(schedule_ids)s::bigint[], %(plan_ids)s::bigint[], %(upload_ids)s::bigint[], %(debtor_ids)s::bigint[], %(due_ons)s::date[],
    %(due_items)s::text[], %(amounts_minor)s::bigint[], %(are_last)s::boolean[], %(states)s::text[], %(collect_ons)s::date[],
    %(reasons)s::text[]
) as given (
    schedule_id, collection_plan_id, upload_id, debtor_id, due_on, due_item, amount_minor, is_last, state, collect_on, reason
)
order by given.schedule_id, given.due_on
on conflict (schedule_id, due_on) do nothing
returning id, schedule_id, due_on;

-- groups --
-- Which plans, uploads and due items have items to order. Up to %(limit)s rows: collection_plan_id, upload_id, due_item.
select distinct i.collection_plan_id, i.upload_id, i.due_item
from due_items i
join collection_plans p on p.id = i.collection_plan_id
join collection_schedules s on s.id = i.schedule_id
where i.state = 'waiting' and i.collect_on <= %(today)s and p.state = 'active' and s.state = 'active'
order by 1, 2, 3
limit %(limit)s;

-- lock_waiting --
-- Lock up to %(limit)s items of a group that may be ordered, with their mandates. In the order of their debtors.
select
    i.id, i.schedule_id, i.debtor_id, i.amount_minor, i.due_on, i.is_last, i.collect_from_on, s.mandate_id, m.kind, m.state, m.signed_on,
    m.last_used_on, m.uses,
    d.iban_fingerprint <> md.iban_fingerprint or {was_account_changed} as is_of_other_account
from due_items i
join collection_schedules s on s.id = i.schedule_id
join mandates m on m.id = s.mandate_id
join debtors d on d.id = i.debtor_id
join debtors md on md.id = m.debtor_id
where
    i.state = 'waiting' and i.collect_on <= %(today)s and i.collection_plan_id = %(collection_plan_id)s
    and i.upload_id = %(upload_id)s and i.due_item = %(due_item)s and s.state = 'active'
order by i.debtor_id
limit %(limit)s
for update of i, s;

-- waiting_of --
-- The items of n schedules that may be ordered today. Returns schedule_id, id, collect_from_on.
select schedule_id, id, collect_from_on
from due_items
where schedule_id = any(%(schedule_ids)s::bigint[]) and state = 'waiting' and collect_on <= %(today)s;

-- ordered_on --
-- How many items of a plan were ordered on a day, and their money. One row.
select count(*), coalesce(sum(amount_minor), 0)::bigint
from due_items
where collection_plan_id = %(collection_plan_id)s and ordered_on = %(day_on)s;

-- unreleased_on --
-- The money that a plan ordered on a day, in minor units, without runs that a second person released; of cancelled runs only submitted debits count, and
-- the run %(run_id)s counts in any case. One row.
select coalesce(sum(i.amount_minor), 0)::bigint
from due_items i
join billing_runs r on r.id = i.run_id
where
    i.collection_plan_id = %(collection_plan_id)s and i.ordered_on = %(day_on)s
    and (
        r.id = %(run_id)s
        or (
            r.released_by is null
            and (
                r.state <> 'cancelled'
                or exists (
                    select from billing_attempts a
                    where a.debtor_id = i.debtor_id and a.due_item = i.due_item and a.submission_count > 0 and a.not_submitted_reason is null
                )
            )
        )
    );

-- order --
-- Mark items as ordered. Arrays of length n.
update due_items i
set
    state = 'ordered', run_id = %(run_id)s, ordered_on = %(day_on)s, sequence = given.sequence, collect_on = null, reason = null,
    updated_at = %(now)s
from unnest(%(ids)s::bigint[], %(sequences)s::text[]) as given (id, sequence)
where i.id = given.id and i.state = 'waiting';

-- postpone --
-- Postpone items to a day, each with its verdict. Arrays of length n.
update due_items i
set collect_on = %(collect_on)s, reason = given.reason, updated_at = %(now)s
from unnest(%(ids)s::bigint[], %(reasons)s::text[]) as given (id, reason)
where i.id = given.id and i.state = 'waiting';

-- skip --
-- Skip items, each with its verdict. Arrays of length n.
update due_items i
set state = 'skipped', collect_on = null, reason = given.reason, updated_at = %(now)s
from unnest(%(ids)s::bigint[], %(reasons)s::text[]) as given (id, reason)
where i.id = given.id and i.state = 'waiting';

-- miss --
-- Mark items as missed.
update due_items
set state = 'missed', collect_on = null, updated_at = %(now)s
where id = any(%(ids)s::bigint[]) and state = 'waiting';

-- unorder --
-- Mark ordered items as missed whose debits were not submitted in time.
update due_items
set
    state = 'missed', reason = %(reason)s, run_id = null, ordered_on = null, sequence = null, request = null, updated_at = %(now)s
where id = any(%(ids)s::bigint[]) and state = 'ordered';

-- waive --
-- Waive items, each open one of them.
update due_items
set state = 'waived', collect_on = null, reason = %(reason)s, updated_at = %(now)s
where id = any(%(ids)s::bigint[]) and state in ('waiting', 'missed');

-- recover --
-- A missed item may be collected from a day on; null for once its pre-notification is given.
update due_items
set state = 'waiting', collect_from_on = %(collect_on)s, collect_on = %(collect_on)s, reason = null, updated_at = %(now)s
where id = %(id)s and state = 'missed';

-- recoverable --
-- The oldest missed item of each active schedule of a plan, with how many items of the schedule wait, when one was last ordered, and where the
-- schedule continues. Up to
-- %(limit)s rows, the longest missed first.
select
    i.id, i.schedule_id, i.due_on, i.amount_minor, open_items.waiting, latest.ordered_on as last_ordered_on,
    s.first_due_on, s.next_number, s.make_on is not null as has_next
from due_items i
join collection_schedules s on s.id = i.schedule_id and s.state = 'active'
cross join lateral (
    select
        count(*) filter (where o.state = 'waiting')::integer as waiting,
        min(o.due_on) filter (where o.state = 'missed') as missed_on
    from due_items o
    where o.schedule_id = i.schedule_id and o.state in ('waiting', 'missed')
) open_items
cross join lateral (
    select max(o.ordered_on) as ordered_on from due_items o where o.schedule_id = i.schedule_id
) latest
where
    i.collection_plan_id = %(collection_plan_id)s and i.state = 'missed' and i.due_on = open_items.missed_on
    and open_items.waiting = 0 and (latest.ordered_on is null or latest.ordered_on <= %(ordered_until_on)s)
order by i.due_on, i.id
limit %(limit)s
for update of i skip locked;

-- by_id --
-- A due item. 0 or 1 row.
select {item_columns} from due_items i where i.id = %(id)s;

-- hold --
-- A due item, locked for a change. 0 or 1 row.
select {item_columns} from due_items i where i.id = %(id)s for update;

-- of_schedule --
-- The due items of a schedule, newest first. Up to %(limit)s rows.
select {item_columns} from due_items i where i.schedule_id = %(schedule_id)s order by i.due_on desc limit %(limit)s;

-- open_of --
-- Lock the open due items of n schedules.
select {item_columns}
from due_items i
where i.schedule_id = any(%(schedule_ids)s::bigint[]) and i.state in ('waiting', 'missed')
order by i.id
for update;

-- listed --
-- Due items of a plan, newest first, before %(before_id)s, in %(state)s where it is not null. Up to %(limit)s rows.
select {item_columns}
from due_items i
where
    i.collection_plan_id = %(collection_plan_id)s and (%(before_id)s::bigint is null or i.id < %(before_id)s)
    and (%(state)s::text is null or i.state = %(state)s)
order by i.id desc
limit %(limit)s;

-- of_claim --
-- What decides whether ordered items may be submitted now: schedules are locked in share mode against pauses, and mandates for their use, in one
-- order. Returns debtor_id, id, amount_minor, the states of plan and schedule, and the facts of the mandate.
select
    i.debtor_id, i.id, i.amount_minor, s.state as schedule_state, s.state_reason as schedule_reason, s.mandate_id, m.reference, m.kind, m.state, m.signed_on, m.last_used_on, m.uses,
    d.iban_fingerprint <> md.iban_fingerprint or {was_account_changed} as is_of_other_account
from due_items i
join collection_schedules s on s.id = i.schedule_id
join mandates m on m.id = s.mandate_id
join debtors d on d.id = i.debtor_id
join debtors md on md.id = m.debtor_id
where i.run_id = %(run_id)s and i.debtor_id = any(%(debtor_ids)s::bigint[])
order by m.id
for share of s
for no key update of m;

-- amounts --
-- What debtors owe by the due items that a run collects. Returns debtor_id, amount_minor.
select debtor_id, amount_minor
from due_items
where run_id = %(run_id)s and debtor_id = any(%(debtor_ids)s::bigint[]);

-- set_requests --
-- Write by which request the debits of items are submitted. Arrays of length n.
update due_items i
set request = given.request, updated_at = %(now)s
from unnest(%(ids)s::bigint[], %(requests)s::text[]) as given (id, request)
where i.id = given.id and i.request is distinct from given.request;

-- series --
-- The first debits of series under n mandates: mandate_id, state, unique_id; of other debits than those of n due items. Newest first.
select s.mandate_id, a.state, a.unique_id, a.submission_count > 0 as is_submitted
from due_items i
join collection_schedules s on s.id = i.schedule_id
join billing_attempts a on a.run_id = i.run_id and a.debtor_id = i.debtor_id
where
    s.mandate_id = any(%(mandate_ids)s::bigint[]) and i.request = 'first' and i.id <> all(%(without)s::bigint[])
order by a.id desc;

-- pay_days --
-- The plans of attempts that collect due items. Returns attempt_id, options.
select a.id, p.options
from billing_attempts a
join billing_runs r on r.id = a.run_id
join collection_plans p on p.id = r.collection_plan_id
where a.id = any(%(attempt_ids)s::bigint[]);
