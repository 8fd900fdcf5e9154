-- reconciliation_differences: differences between the gateway's records and ours (tether_core.reconciliation.differences).
--
-- A line is opened by what finds it: processing of notifications, reports, or the review. The unique index over open lines lets
-- one of them make it; the others note when it was seen last. It is resolved by the facts, or acknowledged by a person; an
-- acknowledged line stays until the facts resolve it, so the same facts open no second one. Open lines are few, and the partial
-- indexes hold only these: what the list costs does not depend on how many debits there are.
--
-- The review (tether_worker.reconciliation.differences) reads the outbox for debits that changed, from a position that it holds in
-- reconciliation_reviews; a second position walks along all debits, for what announced nothing, such as imports.

-- {attempt_columns} from payments/billing_attempts --

-- open --
-- Open n lines, or note that they were seen again. Arrays of length n. Returns id, kind, attempt_id, ours, theirs of those that
-- are new. Of the kind 'amount_differs' a debit has at most %(amount_lines_max)s lines that are not resolved.
insert into reconciliation_differences as line (
    kind, attempt_id, subject, other_attempt_id, refund_id, run_id, ours, theirs, holds_refunds, first_seen_at, last_seen_at
)
select
    found.kind, found.attempt_id, found.subject, found.other_attempt_id, found.refund_id, a.run_id, found.ours, found.theirs,
    found.holds_refunds, %(now)s, %(now)s
from unnest(
    %(kinds)s::text[], %(attempt_ids)s::bigint[], %(subjects)s::text[], %(other_attempt_ids)s::bigint[],
    %(refund_ids)s::bigint[], %(ours)s::text[], %(theirs)s::text[], %(holds_refunds)s::boolean[]
) as found (kind, attempt_id, subject, other_attempt_id, refund_id, ours, theirs, holds_refunds)
join billing_attempts a on a.id = found.attempt_id
where
    found.kind <> 'amount_differs'
    or exists (
        select from reconciliation_differences known
        where known.attempt_id = found.attempt_id and known.kind = found.kind and known.subject = found.subject
            and known.resolved_at is null
    )
    or (
        select count(*) from reconciliation_differences known
        where known.attempt_id = found.attempt_id and known.kind = found.kind and known.resolved_at is null
    ) < %(amount_lines_max)s
order by found.attempt_id, found.kind, found.subject
on conflict (attempt_id, kind, subject) where resolved_at is null do update
set last_seen_at = excluded.last_seen_at
returning id, kind, attempt_id, ours, theirs, xmax = 0;

-- unresolved --
-- The lines of n debits that are not resolved, acknowledged ones among them; also those that name one as the other debit.
-- Returns id, kind, attempt_id, subject, theirs, other_attempt_id, whether it is acknowledged.
select id, kind, attempt_id, subject, theirs, other_attempt_id, acknowledged_at is not null as acknowledged
from reconciliation_differences
where resolved_at is null and (attempt_id = any(%(attempt_ids)s) or other_attempt_id = any(%(attempt_ids)s))
order by id;

-- resolve --
-- Resolve n lines. Returns id, kind, attempt_id of those that were open, without those that a person had acknowledged.
with resolved as (
    update reconciliation_differences
    set resolved_at = %(now)s
    where id = any(%(ids)s) and resolved_at is null
    returning id, kind, attempt_id, acknowledged_at
)
select id, kind, attempt_id from resolved where acknowledged_at is null order by id;

-- {line_columns} --
-- A line of the list.
id, kind, attempt_id, other_attempt_id, refund_id, run_id, ours, theirs, holds_refunds, first_seen_at, last_seen_at,
case when resolved_at is not null then 'resolved' when acknowledged_at is not null then 'acknowledged' else 'open' end as state,
resolved_at, acknowledged_at, acknowledged_by, acknowledged_reason

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select {line_columns}
from reconciliation_differences
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(kind)s::text is null or kind = %(kind)s)
    and (%(attempt_id)s::bigint is null or attempt_id = %(attempt_id)s or other_attempt_id = %(attempt_id)s)
    and (not %(open_only)s or (resolved_at is null and acknowledged_at is null))
order by id desc
limit %(limit)s;

-- open_lines --
-- The open lines, oldest first, up to %(limit)s rows. Reads the index of open lines alone.
select {line_columns}
from reconciliation_differences
where resolved_at is null and acknowledged_at is null
order by id
limit %(limit)s;

-- counts --
-- Open lines by kind. One row per kind that occurs.
select kind, count(*)
from reconciliation_differences
where resolved_at is null and acknowledged_at is null
group by kind;

-- open_by_kind --
-- Open lines by kind and currency, with the money of the debits they are about, each debit once a kind. One row per kind and currency that
-- occurs: kind, currency, lines, amount_minor.
select open.kind, a.currency, sum(open.lines)::bigint as count, sum(a.amount_minor)::bigint as amount_minor
from (
    select kind, attempt_id, count(*) as lines
    from reconciliation_differences
    where resolved_at is null and acknowledged_at is null
    group by kind, attempt_id
) open
join billing_attempts a on a.id = open.attempt_id
group by open.kind, a.currency
order by open.kind, a.currency;

-- of_run --
-- Open lines of the debits of a run, by kind. One row per kind that occurs.
select kind, count(*)
from reconciliation_differences
where run_id = %(run_id)s and resolved_at is null and acknowledged_at is null
group by kind
order by kind;

-- by_id --
-- One line. 0 or 1 row.
select {line_columns}
from reconciliation_differences
where id = %(id)s;

-- hold --
-- One line, held until the transaction ends. 0 or 1 row.
select {line_columns}
from reconciliation_differences
where id = %(id)s
for update;

-- acknowledge --
-- Note who looked at a line and what was found.
update reconciliation_differences
set acknowledged_at = %(now)s, acknowledged_by = %(by)s, acknowledged_reason = %(reason)s
where id = %(id)s and resolved_at is null and acknowledged_at is null;

-- holding --
-- The kinds of open lines that keep refunds of n debits away. Returns attempt_id, kind.
select attempt_id, kind
from reconciliation_differences
where attempt_id = any(%(attempt_ids)s) and holds_refunds and resolved_at is null and acknowledged_at is null
order by attempt_id, id;

-- facts --
-- What the review looks at, of n debits: the columns of an attempt, its due item, when it was submitted, its inquiries, who has
-- collected its due item, approved refunds of it; the names of the identities it went to, '' where its outcome is known or can be
-- inquired; its refunds that cannot; what a person stated of it last, and refunds for which the gateway contradicted a person. Of other
-- debits those come along that were collected from its debtor or account, of an account the latest 200; the core decides which of
-- them collected the same due item.
select
    {attempt_columns},
    coalesce(a.due_item, 'once') as due_item, coalesce(a.submitted_at, a.created_at) as debited_at, a.inquiry_count,
    a.debtor_id, d.reference, d.mandate_id, d.customer_id, d.taken_at,
    case
        when a.state = 'approved' then (
            select json_agg(json_build_array(
                twin.id, twin.debtor_id, coalesce(twin.due_item, 'once'), coalesce(twin.submitted_at, twin.created_at),
                other.taken_at, other.reference, other.mandate_id, other.customer_id
            ))
            from (
                select b.id, b.debtor_id, b.due_item, b.submitted_at, b.created_at
                from billing_attempts b
                where b.debtor_id = a.debtor_id and b.state = 'approved' and b.id <> a.id
                union
                (
                    select b.id, b.debtor_id, b.due_item, b.submitted_at, b.created_at
                    from billing_attempts b
                    where b.iban_fingerprint = a.iban_fingerprint and b.state = 'approved' and b.id <> a.id
                    order by b.id + 0 desc  -- else Postgres may scan all debits by id
                    limit 200
                )
            ) twin
            join debtors other on other.id = twin.debtor_id
        )
    end as collected,
    (
        (select count(*) from refunds g where g.attempt_id = a.id and g.state in ('approved', 'refunded'))
        + (
            select count(*) from gateway_refunds r
            where r.attempt_id = a.id and r.state = 'approved'
                and not exists (select from refunds g where g.unique_id = r.unique_id)
        )
    )::integer as refunds,
    case
        when a.payment_stage = 10 and a.dispute_stage = 0 and a.submit_at is null
            and a.unresolved_reason = 'not_found_elsewhere'
        then coalesce(
            (
                select string_agg(coalesce(i.name, went.key), ', ' order by went.number)
                from unnest(coalesce(a.submitted_to, '{?}')) with ordinality as went (key, number)
                left join gateway_identities i on i.key = went.key and i.account = a.account
            ), '?'
        )
        else ''
    end as unreachable_at,
    array(
        select g.id
        from refunds g
        where g.attempt_id = a.id and g.payment_stage = 10 and g.submit_at is null
            and g.unresolved_reason = 'not_found_elsewhere'
        order by g.id
    ) as unreachable_refunds,
    (
        select s.outcome
        from stated_outcomes s
        where s.attempt_id = a.id and s.refund_id is null
        order by s.id desc
        limit 1
    ) as stated,
    array(
        select distinct g.id
        from stated_outcomes s
        join refunds g on g.id = s.refund_id
        where s.attempt_id = a.id and s.outcome in ('declined', 'never_arrived') and g.state in ('approved', 'refunded')
        order by g.id
    ) as contradicted_refunds
from billing_attempts a
join debtors d on d.id = a.debtor_id
where a.id = any(%(attempt_ids)s)
order by a.id;

-- changed_at --
-- n debits by the gateway's id, with when each changed last: the columns of an attempt, then updated_at. Looked up one by one.
select {attempt_columns}, a.updated_at
from unnest(%(unique_ids)s::text[]) as named (unique_id)
join billing_attempts a on a.unique_id = named.unique_id;

-- refunds_named --
-- Our approved refunds and voids that n records of the gateway name, by either id. Returns id, attempt_id, kind,
-- unique_id, transaction_id, amount_minor, currency.
select g.id, g.attempt_id, g.kind, g.unique_id, g.transaction_id, g.amount_minor, g.currency
from refunds g
where g.state in ('approved', 'refunded')
    and (g.unique_id = any(%(unique_ids)s) or g.transaction_id = any(%(transaction_ids)s));

-- returns --
-- How many refunds and voids of a debit the gateway approved, of Tether and of its back office, without one order of Tether. One row.
select (
    (
        select count(*) from refunds g
        where g.attempt_id = %(attempt_id)s and g.id <> %(refund_id)s and g.state in ('approved', 'refunded')
    )
    + (
        select count(*) from gateway_refunds r
        where r.attempt_id = %(attempt_id)s and r.state = 'approved'
            and not exists (select from refunds g where g.unique_id = r.unique_id)
    )
)::integer;

-- hold_position --
-- How far a review has come, held so that one worker goes on from it. 0 or 1 row.
select position from reconciliation_reviews where name = %(name)s for update skip locked;

-- begin_position --
-- Where a review begins that has never been made: the present end of the outbox, or 0. Keeps what is there.
insert into reconciliation_reviews (name, position, updated_at)
values (%(name)s, %(position)s, %(now)s)
on conflict (name) do nothing;

-- advance --
-- Note how far a review has come, inside the transaction that holds it.
update reconciliation_reviews set position = %(position)s, updated_at = %(now)s where name = %(name)s;

-- next_ids --
-- The next %(limit)s debits after one, by id.
select id from billing_attempts where id > %(after)s order by id limit %(limit)s;

-- last_id --
-- The id of the newest debit; 0 where there is none. One row.
select coalesce(max(id), 0) from billing_attempts;

-- beyond_inquiries --
-- Debits whose last status inquiry has been made and that have no line yet, up to %(limit)s. The condition is that of the
-- index billing_attempts_beyond_inquiries, whose number is tether_core.reconciliation.status_inquiry.TRIES_MAX.
select a.id
from billing_attempts a
where
    a.inquiry_count >= 10 and a.dispute_stage = 0 and a.payment_stage in (10, 20, 30)
    and not exists (
        select from reconciliation_differences line
        where line.attempt_id = a.id and line.kind = 'pending_too_long' and line.resolved_at is null
    )
order by a.id
limit %(limit)s;

-- unreachable --
-- Debits with a submission of unknown outcome that no configured identity can be inquired about, and that has no line yet; and debits whose
-- such line is over. Reads two partial indexes and the open lines. Up to %(limit)s.
select found.id
from (
    select a.id
    from billing_attempts a
    where
        a.payment_stage = 10 and a.unresolved_reason = 'not_found_elsewhere' and a.dispute_stage = 0
        and a.submit_at is null
        and not exists (
            select from reconciliation_differences line
            where line.attempt_id = a.id and line.kind = 'unreachable_identity' and line.subject = ''
                and line.resolved_at is null
        )
    union
    select g.attempt_id
    from refunds g
    where
        g.payment_stage = 10 and g.unresolved_reason = 'not_found_elsewhere' and g.submit_at is null
        and not exists (
            select from reconciliation_differences line
            where line.attempt_id = g.attempt_id and line.kind = 'unreachable_identity' and line.refund_id = g.id
                and line.resolved_at is null
        )
    union
    select line.attempt_id
    from reconciliation_differences line
    join billing_attempts a on a.id = line.attempt_id
    left join refunds g on g.id = line.refund_id
    where
        line.kind = 'unreachable_identity' and line.resolved_at is null
        and (
            case
                when line.refund_id is null
                then a.payment_stage <> 10 or a.dispute_stage <> 0 or a.submit_at is not null
                    or a.unresolved_reason is distinct from 'not_found_elsewhere'
                else g.payment_stage <> 10 or g.submit_at is not null
                    or g.unresolved_reason is distinct from 'not_found_elsewhere'
            end
        )
) found
order by found.id
limit %(limit)s;

-- disputes_reported --
-- Processed and confirmed notifications of disputes of n payments. Returns notification_id, id, content_type, body.
select e.notification_id, e.id, e.content_type, e.body
from webhook_events e
where
    e.notification_id = any(%(unique_ids)s) and e.kind = 'payment' and e.state = 'processed'
    and e.outcome in ('applied', 'unchanged')
    and (e.event is not null or e.status in (
        'chargebacked', 'chargeback_reversed', 'chargeback_reversal', 'represented', 'representment_reversed',
        'second_chargebacked'
    ))
order by e.id;

-- runs_over --
-- The runs of n debits that are over, each with its warning and how many of its debits have an open line 'pending_too_long'.
-- Returns id, warning, count. A run that is not over is looked at by billing.
select
    r.id, r.warning,
    (
        select count(*)
        from reconciliation_differences line
        where line.run_id = r.id and line.kind = 'pending_too_long' and line.resolved_at is null
            and line.acknowledged_at is null
    )
from billing_runs r
where
    r.id in (select a.run_id from billing_attempts a where a.id = any(%(attempt_ids)s) and a.run_id is not null)
    and r.state in ('finished', 'cancelled')
order by r.id
for update;

-- warn_run --
-- Write or clear the warning of a run that is over.
update billing_runs set warning = %(warning)s where id = %(id)s;
