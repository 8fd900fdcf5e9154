-- concurrently
-- Chargebacks by reason code, counted from the index alone, and listed newest first (chargebacks.sql).
create index concurrently if not exists billing_attempts_charged_back on billing_attempts (reason_code, id)
include (currency, amount_minor, account) where state = 'chargebacked';
