-- concurrently
-- Where open submissions went to: accounts/gateway_identities.open_calls.
create index concurrently if not exists billing_attempts_open_places on billing_attempts (account, submitted_to, submitted_at)
where payment_stage in (10, 20, 30) and dispute_stage = 0 and submitted_to is not null;
create index concurrently if not exists refunds_open_places on refunds (account, submitted_to, submitted_at)
where payment_stage in (10, 20, 30) and submitted_to is not null;
