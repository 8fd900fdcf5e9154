-- concurrently
-- Runs by their first answer: billing_run_counts.small.
create index concurrently if not exists billing_run_counts_by_first_answer on billing_run_counts (first_answered_at)
where first_answered_at is not null;
