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

alter table debtors
    drop constraint debtors_verdict_known,
    add constraint debtors_verdict_known check (
        verdict in (
            'clear', 'duplicate_in_file', 'blacklisted', 'chargebacked_before', 'already_collected', 'waiting_elsewhere',
            'recently_attempted', 'blacklisted_name', 'blacklisted_email', 'identity_unclear', 'collected_lately',
            'reference_again', 'blacklisted_bank'
        )
    ) not valid;
