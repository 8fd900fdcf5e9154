-- Billing runs, what an attempt needs to be sent once, and gateway accounts beside the one of the environment.

create table billing_runs (
    id bigint generated always as identity primary key,
    upload_id bigint not null references uploads (id),
    account text not null,
    due_item text not null,
    state text not null,
    terms bytea not null,
    planned_to bigint not null default 0,
    planned_count integer not null default 0,
    planned_amount_minor bigint not null default 0,
    skipped bytea not null,
    warning text,
    paused_because text,
    paused_from text,
    released_share double precision not null default 0,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    finished_at timestamptz,
    constraint billing_runs_state_known check (
        state in ('planning', 'canary', 'running', 'paused', 'finished', 'cancelled')
    ),
    constraint billing_runs_paused_for_a_reason check (
        (state = 'paused') = (paused_because is not null) and (state = 'paused') = (paused_from is not null)
    ),
    constraint billing_runs_paused_from_known check (paused_from in ('planning', 'canary', 'running')),
    constraint billing_runs_finished_at_a_moment check ((state in ('finished', 'cancelled')) = (finished_at is not null))
);
create index billing_runs_by_upload on billing_runs (upload_id, id);
create index billing_runs_live on billing_runs (id) where state in ('planning', 'canary', 'running');

alter table billing_attempts
    add column run_id bigint references billing_runs (id),
    add column due_item text,
    add column try_number smallint,
    add column retry_of bigint references billing_attempts (id),
    add column canary boolean not null default false,
    add column send_at timestamptz,
    add column leased_until timestamptz,
    add column sent_at timestamptz,
    add column sends smallint not null default 0,
    add column withheld text,
    add constraint billing_attempts_owed_item check ((due_item is null) = (try_number is null)),
    add constraint billing_attempts_ready_or_leased check (send_at is null or leased_until is null),
    add constraint billing_attempts_sent_at_a_moment check ((sends = 0) = (sent_at is null));
-- One row per try: however many runs plan the same debtors at once, one of them makes it.
create unique index billing_attempts_try_once on billing_attempts (debtor_id, due_item, try_number);
create index billing_attempts_by_fingerprint on billing_attempts (iban_fingerprint);
create index billing_attempts_by_run on billing_attempts (run_id, state);
create index billing_attempts_to_send on billing_attempts (run_id, canary desc, send_at, id) where send_at is not null;
create index billing_attempts_leased on billing_attempts (leased_until) where leased_until is not null;

create table gateway_accounts (
    name text primary key,
    sealed bytea not null,
    api_url text not null,
    billing_per_s double precision,
    reconciliation_per_s double precision,
    debit_max_minor bigint,
    day_count_max integer,
    day_amount_max_minor bigint,
    enabled boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- "default" is the account of the environment.
    constraint gateway_accounts_name_form check (name ~ '^[a-z0-9][a-z0-9_-]{0,31}$' and name <> 'default'),
    constraint gateway_accounts_limits_positive check (
        billing_per_s > 0 and reconciliation_per_s > 0 and debit_max_minor > 0
        and day_count_max > 0 and day_amount_max_minor > 0
    )
);

-- What was begun with an account on a day; only for accounts that have a limit per day.
create table gateway_account_days (
    account text not null references gateway_accounts (name) on delete cascade,
    day_on date not null,
    count integer not null,
    amount_minor bigint not null,
    primary key (account, day_on)
);
