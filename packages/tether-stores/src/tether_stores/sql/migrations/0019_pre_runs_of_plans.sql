-- concurrently
-- The run that collects a due item of a collection plan: `of_plan`, and at most one for each upload.
create unique index concurrently if not exists billing_runs_of_plan_once on billing_runs (collection_plan_id, upload_id, due_item)
    where collection_plan_id is not null;
