-- What people stated about submissions that nobody can inquire about any more, and two kinds of differences.
create table stated_outcomes (
    id bigint generated always as identity primary key,
    attempt_id bigint not null references billing_attempts (id),
    refund_id bigint references givebacks (id),
    outcome text not null,
    unique_id text,
    reason text not null,
    stated_by text not null,
    stated_at timestamptz not null,
    constraint stated_outcomes_outcome_known check (outcome in ('approved', 'declined', 'never_arrived')),
    constraint stated_outcomes_approved_by_id check (outcome <> 'approved' or unique_id is not null)
);
create index stated_outcomes_by_attempt on stated_outcomes (attempt_id);

alter table reconciliation_differences
    drop constraint reconciliation_differences_kind_known,
    add constraint reconciliation_differences_kind_known check (
        kind in (
            'collected_twice', 'state_differs', 'charged_back_again', 'refund_failed_later', 'amount_differs',
            'pending_too_long', 'returned_twice', 'unreachable_identity', 'statement_contradicted'
        )
    );
