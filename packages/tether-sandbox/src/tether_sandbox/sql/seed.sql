-- Generated debtors and attempts, inserted without a file or a submission.

-- debtors --
-- Insert n debtors. Arrays of length n. Returns n ids in the order given.
insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)
select given.iban, given.iban_fingerprint, given.name, given.amount_minor, 'EUR', %(now)s
from unnest(%(ibans)s::text[], %(fingerprints)s::bytea[], %(names)s::text[], %(amounts_minor)s::bigint[])
    with ordinality as given (iban, iban_fingerprint, name, amount_minor, position)
order by given.position
returning id;

-- attempts --
-- Insert n attempts that are pending at the gateway. Arrays of length n. Returns n ids in the order given.
insert into billing_attempts (
    account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
    iban_fingerprint, iban_masked, created_at, updated_at
)
select
    'default', given.debtor_id, given.transaction_id, given.unique_id, given.amount_minor, 'EUR', 'pending', 0, 0,
    given.iban_fingerprint, given.iban_masked, %(now)s, %(now)s
from unnest(
    %(debtor_ids)s::bigint[], %(transaction_ids)s::text[], %(unique_ids)s::text[], %(amounts_minor)s::bigint[],
    %(fingerprints)s::bytea[], %(maskeds)s::text[]
) with ordinality as given (
    debtor_id, transaction_id, unique_id, amount_minor, iban_fingerprint, iban_masked, position
)
order by given.position
returning id;
