-- The gateway accounts of a thing, for callers who are limited to some (tether_web.http.scopes). A thing without an account has no row.

-- of_run --
-- The account of a billing run. 0 or 1 row.
select account from billing_runs where id = %(id)s;

-- of_attempt --
-- The account of a billing attempt. 0 or 1 row.
select account from billing_attempts where id = %(id)s;

-- of_refund --
-- The account of a refund or void. 0 or 1 row.
select account from refunds where id = %(id)s;

-- of_run_void --
-- The account of an order to void a run. 0 or 1 row.
select r.account from run_voids v join billing_runs r on r.id = v.run_id where v.id = %(id)s;

-- of_bulk_order --
-- The account that a bulk order is limited to by its filter, or that of the collection plan in it. 0 or 1 row.
select coalesce(b.filters ->> 'account', p.account)
from bulk_orders b
left join collection_plans p on p.id = (b.filters ->> 'collection_plan')::bigint
where b.id = %(id)s and coalesce(b.filters ->> 'account', p.account) is not null;

-- of_notification --
-- The account of a notification. 0 or 1 row.
select account from webhook_events where id = %(id)s;

-- of_upload --
-- The accounts of the runs of an upload.
select distinct account from billing_runs where upload_id = %(id)s;

-- of_debtor --
-- The accounts of the runs of a debtor's upload, and those that have a mandate of the debtor or tell it of a debit.
select r.account from debtors d join billing_runs r on r.upload_id = d.upload_id where d.id = %(id)s
union
select m.account from mandates m where m.debtor_id = %(id)s
union
select n.account from pre_notifications n where n.debtor_id = %(id)s;

-- of_collection_plan --
-- The account of a collection plan. 0 or 1 row.
select account from collection_plans where id = %(id)s;

-- of_schedule --
-- The account of a schedule's collection plan. 0 or 1 row.
select p.account from collection_schedules s join collection_plans p on p.id = s.collection_plan_id where s.id = %(id)s;

-- of_due_item --
-- The account of a due item's collection plan. 0 or 1 row.
select p.account from due_items i join collection_plans p on p.id = i.collection_plan_id where i.id = %(id)s;

-- of_mandate --
-- The account of a mandate. 0 or 1 row.
select account from mandates where id = %(id)s;
