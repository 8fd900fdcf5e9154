-- holds: what was reported of debits and is not processed yet (tether_core.holds). Reads only.
--
-- Rows of the inbox are found by the payment's unique_id, which is what their signature covers. Disputes that are not processed have an
-- index of their own, webhook_events_unprocessed_disputes, with the very conditions that stand here: it is nearly empty, so that looking
-- for them costs a claim or a plan next to nothing. Other reports are looked up by the unique_id of debits that failed or were charged
-- back, of which an account has few. A parked report holds, too: nobody has said yet that it is not true. Reports of one kind about a
-- payment hold nothing once the gateway has contradicted them %(contradictions)s times, the first and the last %(apart_s)s seconds
-- apart, within a day: of all of them together, so that anyone who varies a notification gains no time by it.

-- {is_open_dispute} --
-- Whether a row `e` of the inbox reports a dispute and is not processed.
e.state in ('waiting', 'confirming', 'parked')
and (
    e.event in ('chargeback', 'second_chargeback', 'representment_reversal')
    or (e.event is null and e.status in ('chargebacked', 'second_chargebacked', 'representment_reversed'))
)

-- {is_contradicted_lately} --
-- Whether a row `c` of the inbox reports of the attempt `a` what the gateway has contradicted within a day.
c.notification_id = a.unique_id and c.account = a.account and c.contradicted_count > 0
and c.last_contradicted_at > %(now)s - interval '1 day'

-- {are_enough} --
-- Whether rows `c` were contradicted as often, and over as long, as frees what they hold.
sum(c.contradicted_count) >= %(contradictions)s
and max(c.last_contradicted_at) - min(c.first_contradicted_at) >= make_interval(secs => %(apart_s)s)

-- {is_contradicted} --
-- Whether the gateway has contradicted the disputes of the attempt `a` as often, and over as long, as frees it.
exists (
    select from webhook_events c
    where
        {is_contradicted_lately}
        and (
            c.event in ('chargeback', 'second_chargeback', 'representment_reversal')
            or (c.event is null and c.status in ('chargebacked', 'second_chargebacked', 'representment_reversed'))
        )
    having
        {are_enough}
)

-- {is_open_failure} --
-- Whether a row `e` of the inbox reports that a payment failed, and is not processed.
e.state in ('waiting', 'confirming', 'parked')
and e.event is null and e.status in ('error', 'unsuccessful', 'timeout', 'declined')

-- {is_failure_contradicted} --
-- The same as `is_contradicted`, for failures of the attempt `a`.
exists (
    select from webhook_events c
    where
        {is_contradicted_lately}
        and c.event is null and c.status in ('error', 'unsuccessful', 'timeout', 'declined')
    having
        {are_enough}
)

-- {is_open_collection} --
-- Whether a row `e` of the inbox reports that the attempt `a`, which failed or was charged back, is collected after all, and is not processed.
e.state in ('waiting', 'confirming', 'parked')
and case
    when a.dispute_stage = 0 then e.event is null and e.status = 'approved'
    else e.event in ('chargeback_reversal', 'representment')
        or (e.event is null and e.status in ('chargeback_reversed', 'chargeback_reversal', 'represented'))
end

-- {is_collection_contradicted} --
-- The same as `is_contradicted`, for reports that the attempt `a` is collected after all.
exists (
    select from webhook_events c
    where
        {is_contradicted_lately}
        and (
            c.event in ('chargeback_reversal', 'representment')
            or (c.event is null and c.status in ('approved', 'chargeback_reversed', 'chargeback_reversal', 'represented'))
        )
    having
        {are_enough}
)

-- refunds_held --
-- What keeps refunds of n debits away. Returns attempt_id, whether a dispute, whether a refund or void, and whether a failure waits to be
-- processed. A refund or void that failed and is reported as approved after all is one.
select
    a.id,
    exists (
        select from webhook_events e
        where
            e.notification_id = a.unique_id and e.account = a.account and e.kind = 'payment'
            and {is_open_dispute}
    )
    and not {is_contradicted},
    exists (
        select from webhook_events e
        where
            e.notification_id = a.unique_id and e.account = a.account and e.kind = 'payment'
            and e.state in ('waiting', 'confirming') and e.event is null and e.status in ('refunded', 'voided')
    )
    and not exists (
        select from webhook_events c
        where {is_contradicted_lately} and c.event is null and c.status in ('refunded', 'voided')
        having {are_enough}
    )
    or exists (
        select
        from refunds g
        join webhook_events e on e.notification_id = g.unique_id
        where
            g.attempt_id = a.id and g.state in ('declined', 'error') and e.account = g.account and e.kind = 'payment'
            and e.state in ('waiting', 'confirming', 'parked') and e.event is null and e.status in ('approved', 'refunded', 'voided')
            and not exists (
                select from webhook_events c
                where
                    c.notification_id = g.unique_id and c.account = g.account and c.contradicted_count > 0
                    and c.last_contradicted_at > %(now)s - interval '1 day'
                    and c.event is null and c.status in ('approved', 'refunded', 'voided')
                having {are_enough}
            )
    ),
    a.payment_stage >= 60
    and exists (
        select from webhook_events e
        where
            e.notification_id = a.unique_id and e.account = a.account and e.kind = 'payment'
            and {is_open_failure}
    )
    and not {is_failure_contradicted}
from billing_attempts a
where a.id = any(%(attempt_ids)s);

-- accounts_held --
-- The accounts, among n, of which a report about a debit waits to be processed. 0 to n rows: fingerprint, whether a dispute is
-- reported, and whether that a debit which failed or was charged back is collected after all. Where a person stated that the debit failed,
-- such a report can perhaps not be confirmed: its open difference holds the account.
select held.fingerprint, held.dispute, held.collection
from (
    select
        named.fingerprint,
        exists (
            select
            from billing_attempts a
            join webhook_events e on e.notification_id = a.unique_id
            where
                a.iban_fingerprint = named.fingerprint and e.account = a.account and e.kind = 'payment'
                and {is_open_dispute}
                and not {is_contradicted}
        ) as dispute,
        exists (
            select
            from billing_attempts a
            join webhook_events e on e.notification_id = a.unique_id
            where
                a.iban_fingerprint = named.fingerprint and e.account = a.account and e.kind = 'payment'
                and (a.state in ('declined', 'error') or a.dispute_stage = 1)
                and {is_open_collection}
                and not {is_collection_contradicted}
        )
        or exists (
            select
            from billing_attempts a
            join reconciliation_differences line on line.attempt_id = a.id
            where
                a.iban_fingerprint = named.fingerprint and a.state in ('declined', 'error')
                and line.kind = 'statement_contradicted' and line.refund_id is null
                and line.resolved_at is null and line.acknowledged_at is null
        ) as collection
    from unnest(%(fingerprints)s::bytea[]) as named (fingerprint)
) held
where held.dispute or held.collection;
