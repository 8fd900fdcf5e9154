-- concurrently
-- Lists of attempts by run, reason code, time of creation and account, newest first (attempt_lists.sql).
create index concurrently if not exists billing_attempts_run_newest on billing_attempts (run_id, id);
create index concurrently if not exists billing_attempts_by_reason on billing_attempts (reason_code, id)
where reason_code is not null;
create index concurrently if not exists billing_attempts_by_creation on billing_attempts (created_at, id);
create index concurrently if not exists billing_attempts_by_account on billing_attempts (account, id);
