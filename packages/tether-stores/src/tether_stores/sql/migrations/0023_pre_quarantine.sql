-- Notifications whose signature no password verifies, sealed and bounded, and which password verified how many:
-- tether_core.notifications.quarantine and password_uses.
create table quarantined_notifications (
    id bigint generated always as identity primary key,
    -- Of the body, as received.
    digest bytea not null,
    -- The account whose terminal it names, '' for none. Nothing that a row says is verified.
    account text not null,
    notification_id text not null,
    report_class text not null,
    -- The debit that it names, in billing_attempts; null for an unknown one.
    attempt_id bigint,
    -- Body and media type, encrypted under TETHER_SECRETS_KEY.
    sealed bytea not null,
    size_bytes integer not null,
    sender text,
    deliveries bigint not null,
    received_at timestamptz not null,
    last_received_at timestamptz not null,
    constraint quarantined_notifications_size_bounded check (size_bytes between 0 and 65536),
    constraint quarantined_notifications_delivered check (deliveries >= 1)
);
create unique index quarantined_notifications_once on quarantined_notifications (digest);
create index quarantined_notifications_in_order on quarantined_notifications (received_at, id);
create index quarantined_notifications_by_debit on quarantined_notifications (attempt_id) where attempt_id is not null;
create index quarantined_notifications_by_room on quarantined_notifications (account, (attempt_id is not null)) include (size_bytes, received_at);

create table password_uses (
    account text not null,
    -- Of the password; tether_core.emp.signature.password_tag.
    tag text not null,
    used_on date not null,
    live bigint not null,
    reverified bigint not null,
    primary key (used_on, account, tag)
);
