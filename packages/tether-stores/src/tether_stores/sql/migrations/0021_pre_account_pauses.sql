-- Gateway accounts with which nothing is submitted now.
create table account_pauses (
    account text primary key,
    paused_by text not null,
    reason text not null,
    paused_at timestamptz not null,
    constraint account_pauses_reason_given check (reason <> '')
);
