-- Orders to void a whole billing run, and what became of each of its debits.
create table run_voids (
    id bigint generated always as identity primary key,
    run_id bigint not null references billing_runs (id),
    state text not null,
    usage text not null,
    reason text not null,
    ordered_by text not null,
    -- The last of the run's debits that was judged.
    position bigint not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    finished_at timestamptz,
    constraint run_voids_state_known check (state in ('working', 'finished')),
    constraint run_voids_finished_at_a_moment check ((state = 'finished') = (finished_at is not null))
);
create unique index run_voids_one_working on run_voids (run_id) where state = 'working';
create index run_voids_by_run on run_voids (run_id, id);

create table run_void_debits (
    void_id bigint not null references run_voids (id),
    attempt_id bigint not null references billing_attempts (id),
    amount_minor bigint not null,
    -- The void of the debit, or why it has none.
    refund_id bigint references givebacks (id),
    refused text,
    refused_because text,
    primary key (void_id, attempt_id),
    constraint run_void_debits_ordered_or_refused check (num_nonnulls(refund_id, refused) = 1),
    constraint run_void_debits_refused_known check (
        refused in (
            'charged_back', 'earlier_day', 'held', 'money_back', 'not_submitted', 'nothing_collected', 'outcome_unknown',
            'refund_ordered'
        )
    ),
    constraint run_void_debits_refused_because check ((refused is null) = (refused_because is null))
);
