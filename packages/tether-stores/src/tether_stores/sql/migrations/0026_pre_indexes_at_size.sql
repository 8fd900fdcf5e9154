-- concurrently
-- What workers and lists look for in tables of ten million rows (tests/stores/test_plans.py).
create index concurrently if not exists debtors_by_name on debtors using gin (to_tsvector('simple', name));
create index concurrently if not exists debtors_by_reference on debtors (reference, id) where reference is not null;
create index concurrently if not exists debtors_by_iban_tail on debtors ("right"(iban, 4));
create index concurrently if not exists billing_attempts_open on billing_attempts (run_id, canary)
where state in ('pending', 'unknown') and payment_stage <= 10 and dispute_stage = 0;
create index concurrently if not exists billing_attempts_unknown on billing_attempts (unresolved_because, id)
where payment_stage = 10;
create index concurrently if not exists billing_attempts_paid_out_twice on billing_attempts (id)
where payment_stage in (70, 80) and dispute_stage in (1, 3);
create index concurrently if not exists billing_attempts_to_retry on billing_attempts (retry_on)
where retry_on is not null and not is_retried;
create index concurrently if not exists billing_attempts_by_retried on billing_attempts (retry_of) where retry_of is not null;
create index concurrently if not exists givebacks_by_state on givebacks (state, id);
create index concurrently if not exists blacklist_by_iban on blacklist (iban_fingerprint, reason_code)
where iban_fingerprint is not null;
create index concurrently if not exists blacklist_by_name on blacklist (name_key, reason_code) where name_key is not null;
create index concurrently if not exists blacklist_by_email on blacklist (email, reason_code) where email is not null;
create index concurrently if not exists blacklist_for_people on blacklist (
    action, source, (case when lifted_at is not null then 'lifted' when expires_at is not null then 'ends' else 'stays' end), id
);
create index concurrently if not exists blacklist_for_people_by_reason
on blacklist (
    reason_code, action, source, (case when lifted_at is not null then 'lifted' when expires_at is not null then 'ends' else 'stays' end), id
);
create index concurrently if not exists reconciliation_differences_by_attempt on reconciliation_differences (attempt_id, id);
create index concurrently if not exists reconciliation_differences_of_other on reconciliation_differences (other_attempt_id, id)
where other_attempt_id is not null;
create index concurrently if not exists reconciliation_differences_by_kind on reconciliation_differences (kind, id);
