-- imported_attempts: which billing attempts another system made, and how far each had come when it was imported.
--
-- An import takes some rows of a table at a time. Each becomes a debtor of no upload, an attempt that no run made and a row
-- here, in one transaction. What is on record with one of their ids is compared before, locked as for booking; ids that come
-- in between are kept out by the unique constraints of billing_attempts. What is here never changes: an attempt's state is
-- what its notifications make of these first stages.
--
-- Nothing ever sends such an attempt, since only attempts of a run are sent. Its debtor is left out of billing, too, and
-- its attempt is dated back to when it was sent, which is what screening goes by.

-- add_debtors --
-- Insert the debtors of n debits; left out of billing, because another system has debited them. Arrays of length n, row
-- numbers distinct. Returns row_number, id: n rows.
insert into debtors (
    row_number, iban, iban_fingerprint, name, reference, mandate_id, amount_minor, currency, created_at, verdict, cause
)
select
    told.row_number, told.iban, told.iban_fingerprint, told.name, told.reference, told.mandate_id, told.amount_minor,
    told.currency, %(now)s, 'recently_attempted', 'Another system debited this; its attempt was imported.'
from unnest(
    %(row_numbers)b::integer[], %(ibans)b::text[], %(fingerprints)b::bytea[], %(names)b::text[], %(references)b::text[],
    %(mandate_ids)b::text[], %(amounts_minor)b::bigint[], %(currencies)b::text[]
) as told (row_number, iban, iban_fingerprint, name, reference, mandate_id, amount_minor, currency)
order by told.iban_fingerprint
returning row_number, id;

-- add --
-- Insert n attempts as they stand. Arrays of length n. A unique constraint fails the statement where an id is on record.
with made as (
    insert into billing_attempts (
        account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
        error_code, reason_code, iban_fingerprint, iban_masked, created_at, updated_at, sent_at, sends
    )
    select
        told.account, told.debtor_id, told.transaction_id, told.unique_id, told.amount_minor, told.currency, told.state,
        told.payment_stage, told.dispute_stage, told.error_code, told.reason_code, told.iban_fingerprint,
        told.iban_masked, told.sent_at, told.updated_at, told.sent_at, 1
    from unnest(
        %(accounts)b::text[], %(debtor_ids)b::bigint[], %(transaction_ids)b::text[], %(unique_ids)b::text[],
        %(amounts_minor)b::bigint[], %(currencies)b::text[], %(states)b::text[], %(payment_stages)b::smallint[],
        %(dispute_stages)b::smallint[], %(error_codes)b::text[], %(reason_codes)b::text[], %(fingerprints)b::bytea[],
        %(maskeds)b::text[], %(sent_ats)b::timestamptz[], %(updated_ats)b::timestamptz[]
    ) as told (
        account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
        error_code, reason_code, iban_fingerprint, iban_masked, sent_at, updated_at
    )
    order by told.transaction_id
    returning id, payment_stage, dispute_stage
)
insert into imported_attempts (attempt_id, payment_stage, dispute_stage, imported_at)
select id, payment_stage, dispute_stage, %(now)s from made;
