-- Checks of accounts: whose budget pays for one, and whose answers it took over; tether_core.vop.
alter table vop_checks add column account text not null default 'default';
alter table vop_checks add column is_fresh boolean not null default false;
alter table vop_checks add column reused_from bigint;

-- Calls of the provider, by gateway account and day.
create table vop_uses (
    account text not null,
    used_on date not null,
    calls integer not null,
    primary key (account, used_on),
    constraint vop_uses_calls_whole check (calls >= 0)
);

-- Banks whose names the provider was asked about, and until when it is not asked about a bank that does not answer.
create table vop_banks (
    bank text primary key,
    unanswered_in_row integer not null,
    asked_at timestamptz not null,
    rest_until timestamptz,
    constraint vop_banks_unanswered_whole check (unanswered_in_row >= 0)
);
