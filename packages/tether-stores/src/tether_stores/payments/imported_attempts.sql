-- imported_attempts: which billing attempts another system made, and how far each had come when it was imported.
--
-- An import takes some rows of a table at a time. Each becomes a debtor of no upload, an attempt that no run made and a row
-- here, in one transaction. What is stored with one of their ids is compared before, locked as for applying; ids that come
-- in between are kept out by the unique constraints of billing_attempts. What is here never changes: an attempt's state is
-- what its notifications make of these first stages.
--
-- Such an attempt is never submitted, since only attempts of a run are. Its debtor is excluded from billing, too, and
-- its attempt has the time of its submission, which screening uses.

-- add_debtors --
-- Insert the debtors of n debits; excluded from billing, because another system has debited them. Arrays of length n, row
-- numbers distinct. Returns row_number, id: n rows.
insert into debtors (
    row_number, iban, iban_fingerprint, name, reference, mandate_id, amount_minor, currency, bank_bic, created_at, verdict, cause
)
select
    given.row_number, given.iban, given.iban_fingerprint, given.name, given.reference, given.mandate_id, given.amount_minor,
    given.currency, given.bank_bic, %(now)s, 'recently_attempted', 'Another system debited this; its attempt was imported.'
from unnest(
    %(row_numbers)b::integer[], %(ibans)b::text[], %(fingerprints)b::bytea[], %(names)b::text[], %(references)b::text[],
    %(mandate_ids)b::text[], %(amounts_minor)b::bigint[], %(currencies)b::text[], %(bank_bics)b::text[]
) as given (row_number, iban, iban_fingerprint, name, reference, mandate_id, amount_minor, currency, bank_bic)
order by given.iban_fingerprint
returning row_number, id;

-- add --
-- Insert n attempts with all their stages. Arrays of length n. A unique constraint fails the statement where an id is stored.
with made as (
    insert into billing_attempts (
        account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
        error_code, reason_code, iban_fingerprint, iban_masked, created_at, updated_at, submitted_at, submission_count
    )
    select
        given.account, given.debtor_id, given.transaction_id, given.unique_id, given.amount_minor, given.currency, given.state,
        given.payment_stage, given.dispute_stage, given.error_code, given.reason_code, given.iban_fingerprint,
        given.iban_masked, given.submitted_at, given.updated_at, given.submitted_at, 1
    from unnest(
        %(accounts)b::text[], %(debtor_ids)b::bigint[], %(transaction_ids)b::text[], %(unique_ids)b::text[],
        %(amounts_minor)b::bigint[], %(currencies)b::text[], %(states)b::text[], %(payment_stages)b::smallint[],
        %(dispute_stages)b::smallint[], %(error_codes)b::text[], %(reason_codes)b::text[], %(fingerprints)b::bytea[],
        %(maskeds)b::text[], %(submitted_ats)b::timestamptz[], %(updated_ats)b::timestamptz[]
    ) as given (
        account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
        error_code, reason_code, iban_fingerprint, iban_masked, submitted_at, updated_at
    )
    order by given.transaction_id
    returning id, payment_stage, dispute_stage
)
insert into imported_attempts (attempt_id, payment_stage, dispute_stage, imported_at)
select id, payment_stage, dispute_stage, %(now)s from made;
