-- concurrently
-- The pre-notifications of a debtor: retention/pruning.prune_debtors.
create index concurrently if not exists pre_notifications_by_debtor on pre_notifications (debtor_id);
