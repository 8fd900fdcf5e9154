-- concurrently
-- Checks of all uploads by state and by result: vop.by_state, vop.by_result. Runs and refunds of a gateway account: billing/billing_runs.listed,
-- refunds/refunds.listed.
create index concurrently if not exists vop_checks_by_state on vop_checks (state, debtor_id);
create index concurrently if not exists vop_checks_by_result on vop_checks (result, debtor_id) where result is not null;
create index concurrently if not exists billing_runs_by_account on billing_runs (account, id);
create index concurrently if not exists refunds_by_account on refunds (account, id);
