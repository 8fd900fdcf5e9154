-- concurrently
-- The run that collects a due item of a collection plan from an upload: `of_plan`. The plan's lock keeps it the only one.
create index concurrently if not exists billing_runs_of_plan on billing_runs (collection_plan_id, upload_id, due_item)
    where collection_plan_id is not null;
