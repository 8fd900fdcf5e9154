-- Subscribers to which events are sent: tether_core.subscribers. Secrets are encrypted under TETHER_SECRETS_KEY.
create table subscribers (
    id bigint generated always as identity primary key,
    name text not null,
    url text not null,
    -- Filters; null for all.
    types text[],
    accounts text[],
    state text not null,
    disabled_reason text,
    -- The secrets that sign, the newest first; and when the older one ends.
    sealed bytea not null,
    old_secret_until timestamptz,
    -- Events of the outbox up to here have become deliveries.
    position bigint not null,
    -- The first failure after the last success; null while it works.
    failing_since_at timestamptz,
    delivered_at timestamptz,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint subscribers_state_known check (state in ('active', 'paused', 'disabled', 'removed')),
    constraint subscribers_disabled_reason_known check (disabled_reason in ('failing', 'gone')),
    constraint subscribers_disabled_for_a_reason check ((state = 'disabled') = (disabled_reason is not null))
);
create unique index subscribers_name_once on subscribers (name) where state <> 'removed';

-- One event to one subscriber; its life cycle: tether_core.subscribers.delivery. The event is in the outbox.
create table deliveries (
    id bigint generated always as identity primary key,
    subscriber_id bigint not null references subscribers (id),
    event_id bigint not null,
    event_name text not null,
    account text,
    -- Events with one key are delivered one after the other; null: the order does not matter.
    order_key text,
    state text not null,
    tries integer not null default 0,
    -- Tries since it began or was replayed, for the retry schedule.
    failures smallint not null default 0,
    due_at timestamptz,
    leased_until timestamptz,
    http_status smallint,
    error text,
    created_at timestamptz not null,
    ended_at timestamptz,
    constraint deliveries_state_known check (state in ('waiting', 'delivered', 'given_up')),
    constraint deliveries_waiting_is_due check ((state = 'waiting') = (due_at is not null)),
    constraint deliveries_lease_while_waiting check (leased_until is null or state = 'waiting')
);
create unique index deliveries_once on deliveries (subscriber_id, event_id);
create index deliveries_waiting on deliveries (subscriber_id, due_at) where state = 'waiting';
create index deliveries_waiting_by_key on deliveries (subscriber_id, order_key, event_id) where state = 'waiting';
create index deliveries_by_state on deliveries (subscriber_id, state, id);
create index deliveries_by_event on deliveries (event_id);
create index deliveries_ended on deliveries (ended_at) where ended_at is not null;

-- The tries of a delivery.
create table delivery_tries (
    delivery_id bigint not null references deliveries (id) on delete cascade,
    number integer not null,
    tried_at timestamptz not null,
    took_ms integer not null,
    http_status smallint,
    error text,
    primary key (delivery_id, number)
);

-- Orders to send a range of events to a subscriber again.
create table replays (
    id bigint generated always as identity primary key,
    subscriber_id bigint not null references subscribers (id),
    types text[],
    -- Events after this one up to and with the other are left to do.
    position bigint not null,
    up_to bigint not null,
    replayed bigint not null default 0,
    ordered_by text not null,
    reason text not null,
    created_at timestamptz not null,
    finished_at timestamptz
);
create unique index replays_one_at_once on replays (subscriber_id) where finished_at is null;
create index replays_by_subscriber on replays (subscriber_id, id);
