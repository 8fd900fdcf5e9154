-- holds: what was reported of debits and is not processed yet (tether_core.holds). Reads only.
--
-- Rows of the inbox are found by the debit's unique_id, which is what their signature covers. Disputes that are not processed have an
-- index of their own, webhook_events_unprocessed_disputes, with the very conditions that stand here: it is nearly empty, so that looking
-- for them costs a claim or a plan next to nothing. A parked dispute holds, too: nobody has
-- said yet that it is not true. Disputes of a payment hold nothing once the gateway has contradicted such reports of it
-- %(contradictions)s times, the first and the last %(apart_s)s seconds apart, within a day: of all of them together, so that anyone who varies a
-- notification gains no time by it.

-- {is_open_dispute} --
-- Whether a row `e` of the inbox reports a dispute and is not processed.
e.state in ('waiting', 'confirming', 'parked')
and (
    e.event in ('chargeback', 'second_chargeback', 'representment_reversal')
    or (e.event is null and e.status in ('chargebacked', 'second_chargebacked', 'representment_reversed'))
)

-- {is_contradicted} --
-- Whether the gateway has contradicted the disputes of the attempt `a` as often, and over as long, as frees it.
exists (
    select from webhook_events c
    where
        c.notification_id = a.unique_id and c.account = a.account and c.contradicted_count > 0
        and c.last_contradicted_at > %(now)s - interval '1 day'
        and (
            c.event in ('chargeback', 'second_chargeback', 'representment_reversal')
            or (c.event is null and c.status in ('chargebacked', 'second_chargebacked', 'representment_reversed'))
        )
    having
        sum(c.contradicted_count) >= %(contradictions)s
        and max(c.last_contradicted_at) - min(c.first_contradicted_at) >= make_interval(secs => %(apart_s)s)
)

-- refunds_held --
-- What keeps refunds of n debits away. Returns attempt_id, whether a dispute and whether a refund or void waits to be processed.
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
            and not (
                e.contradicted_count >= %(contradictions)s
                and e.last_contradicted_at - e.first_contradicted_at >= make_interval(secs => %(apart_s)s)
            )
    )
from billing_attempts a
where a.id = any(%(attempt_ids)s);

-- accounts_held --
-- The fingerprints, among n, of accounts of which a dispute of any debit waits to be processed. 0 to n rows.
select named.fingerprint
from unnest(%(fingerprints)s::bytea[]) as named (fingerprint)
where exists (
    select
    from billing_attempts a
    join webhook_events e on e.notification_id = a.unique_id
    where
        a.iban_fingerprint = named.fingerprint and e.account = a.account and e.kind = 'payment'
        and {is_open_dispute}
        and not {is_contradicted}
);
