-- Attempts that another system made; tether_core.payments.imported_debits tells how they begin here.

create table imported_attempts (
    attempt_id bigint primary key references billing_attempts (id),
    payment_stage smallint not null,
    dispute_stage smallint not null,
    imported_at timestamptz not null,
    constraint imported_attempts_payment_stage_known check (payment_stage in (0, 10, 20, 30, 40, 50, 60, 70, 80)),
    constraint imported_attempts_dispute_stage_known check (dispute_stage in (0, 1, 2, 3))
);
