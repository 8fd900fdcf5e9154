-- What the benchmarks ask of Tether's own tables.

-- emptied --
-- Forget what earlier turns wrote, and whatever refers to it; debtors and attempts stay.
truncate webhook_events, blacklist, outbox cascade;

-- applied --
-- How many notifications are done with. One row.
select count(*) from webhook_events where state = 'processed';

-- waiting --
-- How many notifications are due and not applied yet. One row.
select count(*) from webhook_events where state = 'waiting' and next_at <= %(now)s;

-- current_status --
-- How many notifications stand in each state. One row per state: state, rows.
select state, count(*) from webhook_events group by state;

-- applied_after --
-- From receipt to the start of the transaction that applied it, of what was received since %(since)s. One row: how many
-- are applied, then milliseconds at the 50th, 95th and 99th percentile and the longest.
select
    count(*),
    coalesce(percentile_disc(0.50) within group (order by took_ms), 0)::double precision,
    coalesce(percentile_disc(0.95) within group (order by took_ms), 0)::double precision,
    coalesce(percentile_disc(0.99) within group (order by took_ms), 0)::double precision,
    coalesce(max(took_ms), 0)::double precision
from (
    select extract(epoch from handled_at - received_at) * 1000 as took_ms
    from webhook_events
    where state = 'processed' and received_at >= %(since)s
) as given;

-- looked_at --
-- Whether a worker has looked at any notification, whatever came of it. One row.
select exists (select from webhook_events where handled_at is not null);
