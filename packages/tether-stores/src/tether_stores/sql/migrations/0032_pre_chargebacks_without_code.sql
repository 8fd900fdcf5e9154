-- concurrently
-- Chargebacks without a code are few, and the planner takes them for most of all: payments/chargebacks.without_code.
create index concurrently if not exists billing_attempts_charged_back_without_code on billing_attempts (id)
    where state = 'chargebacked' and reason_code is null;
