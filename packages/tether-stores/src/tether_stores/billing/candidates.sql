-- debtors as candidates of a billing run: the facts from which tether_core.billing.eligibility decides about each.

-- owing --
-- What decides whether an item may be collected from debtors: either the next %(limit)s of an upload after a row, or n debtors by
-- id. Attempts in %(without)s are excluded: those that are about to be submitted. Ordered by id.
select
    d.id, d.iban, d.iban_fingerprint, d.amount_minor, d.currency, d.name, d.first_name, d.last_name, d.bic, d.bank_bic, d.street,
    d.house_number, d.postcode, d.city, d.province, d.country, d.mandate_id, d.mandate_signed_on, d.reference, d.verdict, d.cause,
    d.reasons::text, d.taken_at, d.upload_id, d.customer_id, d.email,
    listed.action as listed, listed.reason_code as listed_reason,
    item.state as item_state, coalesce(item.returned, false) as item_returned, coalesce(item.tries, 0) as tries,
    item.refunds as item_refunds,
    coalesce(item.next_number, 1) as next_number,
    account.charged_back_for, coalesce(account.paid_minor, 0) as paid_minor, account.refunds,
    checked.score, checked.answered, checked.result
from debtors d
left join lateral (
    select b.action, b.reason_code
    from blacklist b
    where
        b.iban_fingerprint = d.iban_fingerprint and b.lifted_at is null
        and (b.expires_at is null or b.expires_at > %(now)s)
    order by b.action, b.id  -- "block" comes before "hold"
    limit 1
) listed on true
left join lateral (
    select
        case
            when bool_or(a.state = 'approved') then 'approved'
            when bool_or(a.state = 'unknown') then 'unknown'
            when bool_or(a.state = 'pending') then 'pending'
        end as state,
        bool_or(a.dispute_stage in (1, 3)) as returned,
        count(*) filter (where a.not_submitted_reason is null)::integer as tries,
        -- Refunded or voided while the row had another account, which a person has edited since.
        json_agg(json_build_array(
            a.id, case when a.payment_stage = 70 then 'voided' else 'refunded' end, coalesce(a.due_item, 'once'), true, true,
            extract(day from %(now)s - coalesce(a.submitted_at, a.created_at))::integer, null, null, null
        )) filter (where a.payment_stage in (70, 80) and a.iban_fingerprint <> d.iban_fingerprint) as refunds,
        coalesce(max(a.try_number), 0) + 1 as next_number
    from billing_attempts a
    where
        a.debtor_id = d.id and coalesce(a.due_item, 'once') = %(due_item)s
        and a.id <> all(%(without)s::bigint[])
) item on true
left join lateral (
    select
        array_agg(distinct coalesce(a.reason_code, '')) filter (
            where a.dispute_stage in (1, 3) and forgiven.attempt_id is null
        ) as charged_back_for,
        sum(a.amount_minor) filter (where a.state in ('pending', 'unknown', 'approved'))::bigint as paid_minor,
        -- Refunded or voided; the core decides which of them were for the same debit.
        json_agg(json_build_array(
            a.id, case when a.payment_stage = 70 then 'voided' else 'refunded' end, coalesce(a.due_item, 'once'),
            a.debtor_id = d.id, other.upload_id = d.upload_id,
            extract(day from %(now)s - coalesce(a.submitted_at, a.created_at))::integer,
            other.reference, other.mandate_id, other.customer_id
        )) filter (where a.payment_stage in (70, 80)) as refunds
    from billing_attempts a
    join debtors other on other.id = a.debtor_id
    left join forgiven_disputes forgiven
        on forgiven.attempt_id = a.id and forgiven.dispute_stage = a.dispute_stage
    where a.iban_fingerprint = d.iban_fingerprint and a.id <> all(%(without)s::bigint[])
) account on true
left join vop_checks checked on checked.debtor_id = d.id and checked.state = 'checked'
where
    (%(ids)s::bigint[] is null or d.id = any(%(ids)s::bigint[]))
    -- Written as a range: with an equality Postgres may scan the debtors of all uploads by id.
    and (
        %(upload_id)s::bigint is null
        or ((d.upload_id, d.id) > (%(upload_id)s, %(after)s) and (d.upload_id, d.id) <= (%(upload_id)s, 9223372036854775807))
    )
order by d.upload_id, d.id
limit %(limit)s;

-- elsewhere --
-- The submitted debits of n accounts in any upload, and the rows of these accounts that may become debits, from %(since)s on. A
-- row counts for the runs of later uploads. 0 to n rows:
-- iban_fingerprint, reference, mandate_id, customer_id, amount_minor, time, state (null for a row, "forgiven" where its chargeback
-- was), upload_id, due_item, debtor id.
with accounts as materialized (
    select distinct iban_fingerprint from unnest(%(fingerprints)s::bytea[]) as given (iban_fingerprint)
),
tried as materialized (
    select a.iban_fingerprint, t.*
    from accounts a
    cross join lateral (
        select
            t.debtor_id, t.amount_minor, coalesce(t.submitted_at, t.created_at) as at, coalesce(t.due_item, 'once') as due_item,
            case
                when exists (
                    select from forgiven_disputes f where f.attempt_id = t.id and f.dispute_stage = t.dispute_stage
                ) then 'forgiven'
                else t.state
            end as state
        from billing_attempts t
        where
            t.iban_fingerprint = a.iban_fingerprint and t.not_submitted_reason is null
            and (t.run_id is null or t.submission_count > 0 or t.payment_stage > 10 or t.dispute_stage > 0)
            and t.id <> all(%(without)s::bigint[])
        offset 0
    ) t
)
select
    t.iban_fingerprint, d.reference, d.mandate_id, d.customer_id, t.amount_minor, t.at, t.state, d.upload_id, t.due_item, d.id
from tried t
join debtors d on d.id = t.debtor_id
union all
select
    a.iban_fingerprint, d.reference, d.mandate_id, d.customer_id, d.amount_minor, d.created_at, null, d.upload_id, null, d.id
from accounts a
cross join lateral (
    select d.*
    from debtors d
    where
        d.iban_fingerprint = a.iban_fingerprint and d.verdict = 'clear' and d.upload_id is not null and d.created_at >= %(since)s
        and not exists (select from uploads u where u.id = d.upload_id and u.state = 'withdrawn')
    offset 0
) d
where not exists (select from tried t where t.debtor_id = d.id);

-- with_mandates --
-- The debits of n accounts by rows that name a mandate, as far as they were, or may have been, submitted and were neither refused nor voided.
-- Returns iban_fingerprint, mandate_id (the reference), debtor_id, due_item.
select a.iban_fingerprint, d.mandate_id, a.debtor_id, coalesce(a.due_item, 'once')
from billing_attempts a
join debtors d on d.id = a.debtor_id
where
    a.iban_fingerprint = any(%(fingerprints)s::bytea[]) and d.mandate_id is not null and a.not_submitted_reason is null
    and a.state in ('pending', 'unknown', 'approved', 'refunded', 'chargebacked')
    and (a.run_id is null or a.submission_count > 0 or a.payment_stage > 0 or a.dispute_stage > 0)
    and a.id <> all(%(without)s::bigint[]);

-- other_items --
-- Open and collected debits of n debtors for other due items than %(due_item)s. One row per item: due_item, number of debtors,
-- sum of amounts.
select coalesce(a.due_item, 'once'), count(distinct a.debtor_id), sum(a.amount_minor)::bigint
from billing_attempts a
where
    a.debtor_id = any(%(debtor_ids)s::bigint[]) and coalesce(a.due_item, 'once') <> %(due_item)s
    and a.state in ('pending', 'unknown', 'approved')
group by 1
order by 1;

-- billed_items --
-- Open and collected debits of n debtors that no collection plan made. One row per due item: due_item, number of debtors, sum of amounts.
select coalesce(a.due_item, 'once'), count(distinct a.debtor_id), sum(a.amount_minor)::bigint
from billing_attempts a
left join billing_runs r on r.id = a.run_id
where
    a.debtor_id = any(%(debtor_ids)s::bigint[]) and a.state in ('pending', 'unknown', 'approved')
    and r.collection_plan_id is null
group by 1
order by 1;
