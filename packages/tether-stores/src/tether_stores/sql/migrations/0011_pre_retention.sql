-- Archives of old notifications and events: tether_core.retention.

create table archives (
    id bigint generated always as identity primary key,
    kind text not null,
    object_key text not null,
    began_at timestamptz not null,
    -- Once the object was written and read back.
    confirmed_at timestamptz,
    rows integer,
    size_bytes bigint,
    sha256 bytea,
    first_id bigint,
    last_id bigint,
    from_at timestamptz,
    to_at timestamptz,
    -- When none of its rows was left in their table, and when its own period was over.
    pruned_at timestamptz,
    removed_at timestamptz,
    constraint archives_kind_known check (kind in ('notifications', 'events')),
    constraint archives_confirmed_with_contents check (
        (confirmed_at is null) = (num_nonnulls(rows, size_bytes, sha256, first_id, last_id, from_at, to_at) = 0)
        and (confirmed_at is null or num_nulls(rows, size_bytes, sha256, first_id, last_id, from_at, to_at) = 0)
    ),
    constraint archives_confirmed_before_pruned check (pruned_at is null or confirmed_at is not null),
    constraint archives_pruned_before_removed check (removed_at is null or pruned_at is not null)
);
create unique index archives_one_unconfirmed on archives (kind) where confirmed_at is null;
create index archives_to_prune on archives (kind, id) where confirmed_at is not null and pruned_at is null;
create index archives_by_last_id on archives (kind, last_id) where confirmed_at is not null;

-- The keys of archived notifications: a repeat is recognised for as long as the debit it is about is kept.
create table archived_notifications (
    key bytea primary key,
    content bytea not null,
    -- Of webhook_events.
    id bigint not null,
    archive_id bigint not null
);

-- What the completeness report counts of archived notifications.
create table archived_listings (
    listed_on date not null,
    source text not null,
    state text not null,
    outcome text not null,
    events bigint not null,
    primary key (listed_on, source, state, outcome)
);

-- How far periodic removal has come through a table.
create table retention_positions (
    name text primary key,
    position bigint not null,
    updated_at timestamptz not null
);

-- A notification that caused an entry may be in the archive.
alter table blacklist drop constraint blacklist_webhook_event_id_fkey;

alter table uploads add column file_removed_at timestamptz;
alter table uploads add column problems_removed_at timestamptz;
