-- How the gateway has answered to each run, counted as the answers are recorded; tether_core.billing.auto_pause. Written by transactions that
-- hold attempts of the run, which is never deleted, so nothing checks it.
create table billing_run_counts (
    run_id bigint primary key,
    answered integer not null default 0,
    refused integer not null default 0,
    canaries_answered integer not null default 0,
    canaries_refused integer not null default 0,
    refused_at timestamptz,
    -- What a person has seen of it, when, who and why; refusals are counted anew from there.
    released_answered integer not null default 0,
    released_refused integer not null default 0,
    released_at timestamptz,
    released_by text,
    released_because text,
    constraint billing_run_counts_released_by_someone check (
        (released_at is null) = (released_by is null) and (released_at is null) = (released_because is null)
    )
);

insert into billing_run_counts (run_id, answered, refused, canaries_answered, canaries_refused, refused_at)
select
    r.id,
    count(*) filter (where a.payment_stage >= 20),
    count(*) filter (where a.payment_stage in (40, 50)),
    count(*) filter (where a.canary and a.payment_stage >= 20),
    count(*) filter (where a.canary and a.payment_stage in (40, 50)),
    max(a.updated_at) filter (where a.payment_stage in (40, 50))
from billing_runs r
join billing_attempts a on a.run_id = r.id
where r.finished_at is null and a.withheld is null
group by r.id;
