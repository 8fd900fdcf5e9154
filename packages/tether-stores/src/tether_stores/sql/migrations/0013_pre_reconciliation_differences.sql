-- Books that differ, as one list; and how far the review of debits has come.
create table reconciliation_differences (
    id bigint generated always as identity primary key,
    kind text not null,
    attempt_id bigint not null references billing_attempts (id),
    subject text not null,
    other_attempt_id bigint references billing_attempts (id),
    refund_id bigint references givebacks (id),
    run_id bigint references billing_runs (id),
    ours text not null,
    theirs text not null,
    holds_refunds boolean not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    acknowledged_reason text,
    constraint reconciliation_differences_kind_known check (
        kind in (
            'collected_twice', 'state_differs', 'charged_back_again', 'refund_failed_later', 'amount_differs',
            'pending_too_long', 'returned_twice'
        )
    ),
    constraint reconciliation_differences_acknowledged_by_someone check (
        (acknowledged_at is null) = (acknowledged_by is null)
        and (acknowledged_at is null) = (acknowledged_reason is null)
    )
);
create unique index reconciliation_differences_once on reconciliation_differences (attempt_id, kind, subject)
    where resolved_at is null;
create index reconciliation_differences_open on reconciliation_differences (id)
    where resolved_at is null and acknowledged_at is null;
create index reconciliation_differences_by_other on reconciliation_differences (other_attempt_id)
    where resolved_at is null and other_attempt_id is not null;
create index reconciliation_differences_by_run on reconciliation_differences (run_id)
    where resolved_at is null and acknowledged_at is null and run_id is not null;

create table reconciliation_reviews (
    name text primary key,
    position bigint not null,
    updated_at timestamptz not null
);

-- Debits whose last status inquiry has been made and settled nothing.
create index billing_attempts_beyond_inquiries on billing_attempts (id)
    where asks >= 10 and dispute_stage = 0 and payment_stage in (10, 20, 30);

-- The amount and currency of the payment's record, as the gateway confirmed it.
alter table webhook_events
    add column confirmed_amount_minor bigint,
    add column confirmed_currency text;

-- Refunds and voids of our debits that were made in the gateway's back office.
create table gateway_refunds (
    unique_id text primary key,
    attempt_id bigint not null references billing_attempts (id),
    account text not null,
    kind text not null,
    amount_minor bigint,
    currency text,
    state text not null,
    inquiries smallint not null default 0,
    inquire_at timestamptz,
    not_found_count smallint not null default 0,
    first_not_found_at timestamptz,
    first_seen_at timestamptz not null,
    updated_at timestamptz not null,
    constraint gateway_refunds_kind_known check (kind in ('refund', 'void')),
    constraint gateway_refunds_state_known check (
        state in ('reported', 'pending', 'approved', 'failed', 'contradicted')
    )
);
create index gateway_refunds_by_attempt on gateway_refunds (attempt_id);
create index gateway_refunds_to_inquire on gateway_refunds (inquire_at) where inquire_at is not null;

-- Disputes that hold money until they are processed; few, so looking for them costs little (tether_core.holds).
create index webhook_events_unprocessed_disputes on webhook_events (notification_id)
    where state in ('waiting', 'confirming', 'parked')
        and (
            event in ('chargeback', 'second_chargeback', 'representment_reversal')
            or (event is null and status in ('chargebacked', 'second_chargebacked', 'representment_reversed'))
        );
