-- When the first debit of a run was answered: refusals of small runs count for a day from there. Null for the answers of before.
alter table billing_run_counts add column first_answered_at timestamptz;
-- Whether a person has accepted the small runs before a run, so that they do not pause it.
alter table billing_run_counts add column small_runs_accepted boolean not null default false;
