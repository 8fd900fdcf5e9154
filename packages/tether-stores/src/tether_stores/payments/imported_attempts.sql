-- imported_attempts: which billing attempts another system made, and how far each had come when it was imported.
--
-- An import takes some rows of a table at a time. Each becomes a debtor of no upload, an attempt that no run made and a row
-- here, in one transaction. What is stored with one of their ids is compared before, locked as for applying; ids that come
-- in between are kept out by the unique constraints of billing_attempts. What is here never changes: an attempt's state is
-- what its notifications make of these first stages.
--
-- Nothing ever sends such an attempt, since only attempts of a run are sent. Its debtor is excluded of billing, too, and
-- its attempt is dated back to when it was sent, which is what screening goes by.

-- add_debtors --
-- Insert the debtors of n debits; excluded of billing, because another system has debited them. Arrays of length n, row
-- numbers distinct. Returns row_number, id: n rows.
insert into debtors (
    row_number, iban, iban_fingerprint, name, reference, mandate_id, amount_minor, currency, created_at, verdict, cause
)
select
    is_notified.row_number, is_notified.iban, is_notified.iban_fingerprint, is_notified.name, is_notified.reference, is_notified.mandate_id, is_notified.amount_minor,
    is_notified.currency, %(now)s, 'recently_attempted', 'Another system debited this; its attempt was imported.'
from unnest(
    %(row_numbers)b::integer[], %(ibans)b::text[], %(fingerprints)b::bytea[], %(names)b::text[], %(references)b::text[],
    %(mandate_ids)b::text[], %(amounts_minor)b::bigint[], %(currencies)b::text[]
) as is_notified (row_number, iban, iban_fingerprint, name, reference, mandate_id, amount_minor, currency)
order by is_notified.iban_fingerprint
returning row_number, id;

-- add --
-- Insert n attempts as they stand. Arrays of length n. A unique constraint fails the statement where an id is stored.
with made as (
    insert into billing_attempts (
        account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
        error_code, reason_code, iban_fingerprint, iban_masked, created_at, updated_at, submitted_at, submission_count
    )
    select
        is_notified.account, is_notified.debtor_id, is_notified.transaction_id, is_notified.unique_id, is_notified.amount_minor, is_notified.currency, is_notified.state,
        is_notified.payment_stage, is_notified.dispute_stage, is_notified.error_code, is_notified.reason_code, is_notified.iban_fingerprint,
        is_notified.iban_masked, is_notified.submitted_at, is_notified.updated_at, is_notified.submitted_at, 1
    from unnest(
        %(accounts)b::text[], %(debtor_ids)b::bigint[], %(transaction_ids)b::text[], %(unique_ids)b::text[],
        %(amounts_minor)b::bigint[], %(currencies)b::text[], %(states)b::text[], %(payment_stages)b::smallint[],
        %(dispute_stages)b::smallint[], %(error_codes)b::text[], %(reason_codes)b::text[], %(fingerprints)b::bytea[],
        %(maskeds)b::text[], %(submitted_ats)b::timestamptz[], %(updated_ats)b::timestamptz[]
    ) as is_notified (
        account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
        error_code, reason_code, iban_fingerprint, iban_masked, submitted_at, updated_at
    )
    order by is_notified.transaction_id
    returning id, payment_stage, dispute_stage
)
insert into imported_attempts (attempt_id, payment_stage, dispute_stage, imported_at)
select id, payment_stage, dispute_stage, %(now)s from made;
