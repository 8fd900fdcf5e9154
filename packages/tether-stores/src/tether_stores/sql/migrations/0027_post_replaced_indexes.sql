-- concurrently
-- Indexes that others have replaced.
drop index concurrently if exists blacklist_lifted_iban;
drop index concurrently if exists blacklist_lifted_name;
drop index concurrently if exists blacklist_lifted_email;
drop index concurrently if exists reconciliation_differences_by_other;
