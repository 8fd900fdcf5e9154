-- completeness: what the gateway knows of some days, and how we came to know it. Reads only; see
-- tether_core.reconciliation.completeness for what the numbers mean.

-- lines --
-- The rows of known events, counted by the way they came, state and outcome; those in archives too.
select way, state, outcome, sum(events)::bigint as events
from (
    select source as way, state, outcome, count(*) as events
    from webhook_events
    where listed_on between %(from_on)s and %(to_on)s
    group by source, state, outcome
    union all
    select source, state, nullif(outcome, ''), events
    from archived_listings
    where listed_on between %(from_on)s and %(to_on)s
) known
group by way, state, outcome
order by way, state, outcome;

-- contradicted --
-- Notifications received within some days that the gateway contradicts: inquired again, or to the last. One row.
select
    (
        select count(*) from webhook_events
        where state = 'confirming' and contradicted_count > 0
            and received_at >= %(from_at)s and received_at < %(to_at)s
    ),
    (
        select count(*) from webhook_events
        where state = 'contradicted' and received_at >= %(from_at)s and received_at < %(to_at)s
    );

-- delays --
-- From the gateway's time to our record, in seconds, by the way it came: half, 95 of 100, and the longest.
select
    source,
    percentile_disc(0.5) within group (order by delay_s),
    percentile_disc(0.95) within group (order by delay_s),
    max(delay_s)
from (
    select source, greatest(extract(epoch from received_at - happened_at), 0)::double precision as delay_s
    from webhook_events
    where listed_on between %(from_on)s and %(to_on)s and happened_at is not null
) as given
group by source;
