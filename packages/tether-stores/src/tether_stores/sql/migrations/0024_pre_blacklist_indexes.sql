-- concurrently
-- Entries about banks: one active entry a reason, and all entries about a bank.
create unique index concurrently if not exists blacklist_bank_once on blacklist (bic, reason_code) where lifted_at is null and bic is not null;
create index concurrently if not exists blacklist_by_bank on blacklist (bic, reason_code) where bic is not null;
