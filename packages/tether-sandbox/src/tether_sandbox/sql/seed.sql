-- What the sandbox writes that the product would write by itself: debtors and attempts without a file or a call.

-- debtors --
-- Insert n debtors. Arrays of length n. Returns n ids in the order given.
insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)
select is_notified.iban, is_notified.iban_fingerprint, is_notified.name, is_notified.amount_minor, 'EUR', %(now)s
from unnest(%(ibans)s::text[], %(fingerprints)s::bytea[], %(names)s::text[], %(amounts_minor)s::bigint[])
    with ordinality as is_notified (iban, iban_fingerprint, name, amount_minor, position)
order by is_notified.position
returning id;

-- attempts --
-- Insert n attempts the gateway has taken and not yet decided. Arrays of length n. Returns n ids in the order given.
insert into billing_attempts (
    account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
    iban_fingerprint, iban_masked, created_at, updated_at
)
select
    'default', is_notified.debtor_id, is_notified.transaction_id, is_notified.unique_id, is_notified.amount_minor, 'EUR', 'pending', 0, 0,
    is_notified.iban_fingerprint, is_notified.iban_masked, %(now)s, %(now)s
from unnest(
    %(debtor_ids)s::bigint[], %(transaction_ids)s::text[], %(unique_ids)s::text[], %(amounts_minor)s::bigint[],
    %(fingerprints)s::bytea[], %(maskeds)s::text[]
) with ordinality as is_notified (
    debtor_id, transaction_id, unique_id, amount_minor, iban_fingerprint, iban_masked, position
)
order by is_notified.position
returning id;
