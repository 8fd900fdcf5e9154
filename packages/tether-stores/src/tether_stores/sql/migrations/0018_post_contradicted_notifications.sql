-- A conflicting delivery would wait for a worker that holds the row it conflicts with. No row of the table is ever deleted.
alter table webhook_events drop constraint webhook_events_conflicts_with_fkey;

-- Notifications that were contradicted before there was a state for them.
update webhook_events
set
    state = 'contradicted', contradicted_count = 1,
    first_contradicted_at = coalesce(confirmed_at, handled_at, received_at),
    last_contradicted_at = coalesce(confirmed_at, handled_at, received_at)
where state = 'processed' and outcome = 'refuted';
