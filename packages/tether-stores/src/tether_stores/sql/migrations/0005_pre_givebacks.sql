-- Orders to give a debit back, as refund or void; tether_core.refunds.refund tells their life.

create table givebacks (
    id bigint generated always as identity primary key,
    attempt_id bigint not null references billing_attempts (id),
    kind text not null,
    number smallint not null,
    account text not null,
    transaction_id text not null,
    unique_id text,
    amount_minor bigint not null,
    currency text not null,
    usage text not null,
    state text not null,
    payment_stage smallint not null,
    error_code text,
    ordered_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Its way to the gateway, as a debit's: ready from a moment on, or leased by a worker; how often it was begun.
    send_at timestamptz,
    leased_until timestamptz,
    sent_at timestamptz,
    sends smallint not null default 0,
    withheld text,
    asks smallint not null default 0,
    ask_at timestamptz,
    constraint givebacks_transaction_once unique (transaction_id),
    constraint givebacks_unique_id_once unique (unique_id),
    constraint givebacks_number_once unique (attempt_id, number),
    constraint givebacks_amount_positive check (amount_minor > 0),
    constraint givebacks_kind_known check (kind in ('refund', 'void')),
    constraint givebacks_state_known check (
        state in ('pending', 'unknown', 'approved', 'declined', 'error', 'voided', 'refunded')
    ),
    constraint givebacks_payment_stage_known check (payment_stage in (0, 10, 20, 30, 40, 50, 60, 70, 80)),
    constraint givebacks_ready_or_leased check (send_at is null or leased_until is null),
    constraint givebacks_sent_at_a_moment check ((sends = 0) = (sent_at is null))
);
-- A debit's money goes back by us once: an order that stands keeps all others away.
create unique index givebacks_one_stands on givebacks (attempt_id)
    where state in ('pending', 'unknown', 'approved', 'refunded');
create index givebacks_to_send on givebacks (send_at) where send_at is not null;
create index givebacks_leased on givebacks (leased_until) where leased_until is not null;
create index givebacks_to_ask on givebacks (coalesce(ask_at, updated_at)) where payment_stage in (10, 20, 30);
