-- When the first debit of a run was answered: refusals of small runs count for a day from there. Null for the answers of before.
alter table billing_run_counts add column first_answered_at timestamptz;
