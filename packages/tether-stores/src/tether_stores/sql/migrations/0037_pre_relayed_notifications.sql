-- concurrently
-- The latest notification of each relay: notifications/relays.listed.
create index concurrently if not exists webhook_events_by_relay on webhook_events (relay_id, id) where relay_id is not null;
