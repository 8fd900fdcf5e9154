-- Files of accounts and names that are checked without becoming debtors; tether_core.check_files.
create table check_files (
    id bigint generated always as identity primary key,
    account text not null,
    row_count integer not null,
    created_by text not null,
    created_at timestamptz not null,
    constraint check_files_has_rows check (row_count >= 1)
);

create table check_file_rows (
    id bigint generated always as identity primary key,
    file_id bigint not null references check_files (id) on delete cascade,
    row_number integer not null,
    iban text not null,
    name text not null,
    bank_bic text,
    state text not null,
    failures smallint not null default 0,
    next_at timestamptz,
    leased_until timestamptz,
    provider text,
    -- The debtor whose answers were taken over.
    reused_from bigint,
    name_answer text,
    name_percent smallint,
    bank_name text,
    bic text,
    score smallint,
    answered smallint,
    result text,
    checked_at timestamptz,
    constraint check_file_rows_state_known check (state in ('waiting', 'checked', 'parked')),
    constraint check_file_rows_waiting_has_timestamp check ((state = 'waiting') = (next_at is not null)),
    constraint check_file_rows_checked_has_result check ((state = 'checked') <= (result is not null and score is not null))
);
create index check_file_rows_due on check_file_rows (next_at, id) where state = 'waiting';
create unique index check_file_rows_once on check_file_rows (file_id, row_number);
create index check_file_rows_by_iban on check_file_rows (iban);
