-- concurrently
-- What one person ordered lately, for dual control: billing/billing_runs.unreleased_amount.
create index concurrently if not exists billing_runs_by_owner on billing_runs (owner, created_at) where collection_plan_id is null;
-- Few mandates end, and each billing run looks for those of its debtors: recurring/mandates.ended_of.
create index concurrently if not exists mandates_ended on mandates (debtor_id) where state <> 'active';
