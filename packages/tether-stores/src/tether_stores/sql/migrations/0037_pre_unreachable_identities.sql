-- concurrently
-- Submissions whose outcome no configured gateway identity can say.
create index concurrently if not exists billing_attempts_unreachable on billing_attempts (id)
where payment_stage = 10 and unresolved_because = 'not_found_elsewhere';
create index concurrently if not exists givebacks_unreachable on givebacks (attempt_id)
where payment_stage = 10 and unresolved_because = 'not_found_elsewhere';
