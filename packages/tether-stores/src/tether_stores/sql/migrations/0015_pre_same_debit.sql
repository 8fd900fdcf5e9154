-- What is the same debit, all reasons a row is left out for, and what a person answered; tether_core.payments.same_debit.

alter table debtors
    add column reasons jsonb,
    add column taken_at timestamptz,
    drop constraint debtors_verdict_known,
    add constraint debtors_verdict_known check (
        verdict in (
            'clear', 'duplicate_in_file', 'blacklisted', 'chargebacked_before', 'already_collected', 'waiting_elsewhere',
            'recently_attempted', 'blacklisted_name', 'blacklisted_email', 'identity_unclear', 'collected_lately',
            'reference_again'
        )
    );

alter table uploads
    add column repeats json not null default '[]',
    add column screening_answers json not null default '{}',
    add column screened_at timestamptz;

alter table rehearsed_rows
    add column mandate_id text,
    add column customer_id text,
    add column amount_minor bigint,
    add column verdict text not null default 'clear',
    add column reasons jsonb;

create table layout_answers (
    id bigint generated always as identity primary key,
    layout bytea not null,
    subject text not null,
    answer text not null,
    days_min integer not null,
    upload_id bigint not null,
    answered_by text not null,
    answered_at timestamptz not null,
    forgotten_at timestamptz,
    forgotten_by text,
    constraint layout_answers_subject_known check (subject in ('collected_before', 'identity_unclear')),
    constraint layout_answers_answer_known check (answer in ('take', 'leave_out')),
    constraint layout_answers_forgotten_by_someone check ((forgotten_at is null) = (forgotten_by is null))
);
create unique index layout_answers_once on layout_answers (layout, subject) where forgotten_at is null;
