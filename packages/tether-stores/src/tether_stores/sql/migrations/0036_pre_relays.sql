-- Further addresses for notifications, each of one gateway account; tether_core.notifications.relays.
create table relays (
    id bigint generated always as identity primary key,
    name text not null,
    account text not null,
    -- Of the token.
    digest bytea not null,
    created_by text not null,
    created_at timestamptz not null,
    revoked_by text,
    revoked_at timestamptz,
    constraint relays_digest_size check (octet_length(digest) = 32),
    constraint relays_revoked_by_somebody check ((revoked_by is null) = (revoked_at is null))
);
create unique index relays_digest_once on relays (digest);
create unique index relays_name_once on relays (name) where revoked_at is null;

-- The relay by which a notification first came, and the address of its sender; null for the plain route.
alter table webhook_events add column relay_id bigint;
alter table webhook_events add column sender text;
alter table quarantined_notifications add column relay_id bigint;
