-- Blacklist entries about banks, by BIC, and entries that the return rate of a bank caused: tether_core.banks. The constraints become wider: rows of
-- the older code fit both. The rows there are, are checked by the next migration, without blocking writers.
alter table blacklist
    add column bic text,
    drop constraint blacklist_scope_known,
    add constraint blacklist_scope_known check (scope in ('iban', 'mandate', 'name', 'email', 'bank')) not valid,
    drop constraint blacklist_source_known,
    add constraint blacklist_source_known check (source in ('chargeback', 'manual', 'import', 'automatic')) not valid,
    drop constraint blacklist_about_one,
    add constraint blacklist_about_one check (num_nonnulls(iban_fingerprint, name_key, email, bic) = 1) not valid;
-- With the column, so that no code ever writes two; nobody has written one yet, so they are built at once.
create unique index blacklist_bank_once on blacklist (bic, reason_code) where lifted_at is null and bic is not null;
create index blacklist_by_bank on blacklist (bic, reason_code) where bic is not null;

alter table debtors
    drop constraint debtors_verdict_known,
    add constraint debtors_verdict_known check (
        verdict in (
            'clear', 'duplicate_in_file', 'blacklisted', 'chargebacked_before', 'already_collected', 'waiting_elsewhere',
            'recently_attempted', 'blacklisted_name', 'blacklisted_email', 'identity_unclear', 'collected_lately',
            'reference_again', 'blacklisted_bank'
        )
    ) not valid;
