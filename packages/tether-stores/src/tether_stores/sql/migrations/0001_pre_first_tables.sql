-- The tables of the first release.

-- Files that were handed in. docs/concepts/intake.md tells their life.
create table uploads (
    id bigint generated always as identity primary key,
    object_key text not null,
    filename text not null,
    size_bytes bigint not null,
    sha256 bytea not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null
);

-- People who owe money: one row per row of an upload that could be read.
create table debtors (
    id bigint generated always as identity primary key,
    upload_id bigint references uploads (id),
    row_number integer,
    iban text not null,
    iban_fingerprint bytea not null,
    name text not null,
    amount_minor bigint not null,
    currency text not null,
    created_at timestamptz not null,
    constraint debtors_amount_positive check (amount_minor > 0),
    constraint debtors_currency_form check (currency ~ '^[A-Z]{3}$')
);
create index debtors_by_fingerprint on debtors (iban_fingerprint);

-- One try to collect one amount. The stages are those of tether_core.payments.attempt; the state is read off them.
create table billing_attempts (
    id bigint generated always as identity primary key,
    account text not null,
    debtor_id bigint not null references debtors (id),
    transaction_id text not null,
    unique_id text,
    amount_minor bigint not null,
    currency text not null,
    state text not null,
    payment_stage smallint not null,
    dispute_stage smallint not null,
    error_code text,
    reason_code text,
    iban_fingerprint bytea not null,
    iban_masked text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint billing_attempts_transaction_once unique (transaction_id),
    constraint billing_attempts_unique_id_once unique (unique_id),
    constraint billing_attempts_amount_positive check (amount_minor > 0),
    constraint billing_attempts_state_known check (
        state in ('pending', 'unknown', 'approved', 'declined', 'error', 'voided', 'refunded', 'chargebacked')
    ),
    constraint billing_attempts_payment_stage_known check (payment_stage in (0, 10, 20, 30, 40, 50, 60, 70, 80)),
    constraint billing_attempts_dispute_stage_known check (dispute_stage in (0, 1, 2, 3))
);
create index billing_attempts_by_debtor on billing_attempts (debtor_id);
create index billing_attempts_by_state on billing_attempts (state, id);

-- The inbox: every genuine notification, its raw bytes, and what came of it.
create table webhook_events (
    id bigint generated always as identity primary key,
    key bytea not null,
    content bytea not null,
    account text not null,
    kind text not null,
    notification_id text not null,
    status text not null,
    event text,
    source text not null,
    content_type text not null,
    body bytea not null,
    state text not null,
    outcome text,
    reason text,
    failures smallint not null,
    attempt_id bigint references billing_attempts (id),
    conflicts_with bigint references webhook_events (id),
    confirmed_status text,
    confirmed_error_code text,
    confirmed_reason_code text,
    confirmed_at timestamptz,
    leased_until timestamptz,
    received_at timestamptz not null,
    next_at timestamptz,
    handled_at timestamptz,
    constraint webhook_events_state_known check (
        state in ('waiting', 'confirming', 'processed', 'parked', 'conflicting')
    ),
    constraint webhook_events_kind_known check (kind in ('payment', 'wpf', 'kyc', 'apm_event')),
    constraint webhook_events_source_known check (source in ('webhook', 'pull')),
    constraint webhook_events_waiting_has_moment check (
        (state in ('waiting', 'confirming')) = (next_at is not null)
    ),
    constraint webhook_events_conflict_names_other check ((state = 'conflicting') = (conflicts_with is not null))
);
-- The one promise of the inbox: a notification is recorded once. Conflicting deliveries stand beside it, once each.
create unique index webhook_events_once on webhook_events (key) where conflicts_with is null;
create unique index webhook_events_conflict_once on webhook_events (key, content) where conflicts_with is not null;
create index webhook_events_due on webhook_events (next_at, id) where state = 'waiting';
create index webhook_events_to_confirm on webhook_events (next_at, id) where state = 'confirming';
create index webhook_events_by_notification on webhook_events (notification_id);
create index webhook_events_for_people on webhook_events (state, id) where state in ('parked', 'conflicting');

-- IBANs that must not be debited. Matching is by fingerprint; an entry is lifted, never deleted.
create table blacklist (
    id bigint generated always as identity primary key,
    iban_fingerprint bytea not null,
    iban_masked text not null,
    action text not null,
    scope text not null,
    reason_code text not null,
    note text not null,
    source text not null,
    added_by text not null,
    webhook_event_id bigint references webhook_events (id),
    attempt_id bigint references billing_attempts (id),
    created_at timestamptz not null,
    expires_at timestamptz,
    lifted_at timestamptz,
    lifted_by text,
    lifted_because text,
    constraint blacklist_action_known check (action in ('hold', 'block')),
    constraint blacklist_scope_known check (scope in ('iban', 'mandate')),
    constraint blacklist_source_known check (source in ('chargeback', 'manual', 'import')),
    constraint blacklist_lifted_by_someone check ((lifted_at is null) = (lifted_by is null))
);
-- One live entry per IBAN and reason, whatever is delivered again.
create unique index blacklist_once on blacklist (iban_fingerprint, reason_code) where lifted_at is null;

-- Facts for others, written in the transaction of the change they speak of, handed on in order.
create table outbox (
    id bigint generated always as identity primary key,
    name text not null,
    version smallint not null,
    payload bytea not null,
    webhook_event_id bigint references webhook_events (id),
    occurred_at timestamptz not null,
    relayed_at timestamptz
);
create index outbox_unrelayed on outbox (id) where relayed_at is null;
