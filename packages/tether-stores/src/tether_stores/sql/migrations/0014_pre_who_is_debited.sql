-- Which disputes an entry is about, and which chargebacks a person has forgiven by lifting it.
create table blacklist_disputes (
    blacklist_id bigint not null references blacklist (id),
    attempt_id bigint not null references billing_attempts (id),
    dispute_stage smallint not null,
    dispute_id text not null default '',
    primary key (attempt_id, dispute_stage, dispute_id, blacklist_id),
    constraint blacklist_disputes_dispute_stage_known check (dispute_stage in (1, 3))
);
create index blacklist_disputes_by_entry on blacklist_disputes (blacklist_id);

-- Entries from before this table name their debit. Where that was charged back twice, nobody can tell which of the two
-- an entry was made for, so it is about both.
insert into blacklist_disputes (blacklist_id, attempt_id, dispute_stage)
select b.id, b.attempt_id, 1 from blacklist b where b.attempt_id is not null
union all
select b.id, b.attempt_id, 3
from blacklist b
join billing_attempts a on a.id = b.attempt_id
where a.dispute_stage = 3;

alter table blacklist add column forgives text;
alter table blacklist
    add constraint blacklist_forgives_known check (forgives in ('entry', 'disputes', 'account')),
    add constraint blacklist_forgives_when_lifted check (forgives is null or lifted_at is not null);

-- What an import must not make again because a person lifted it is looked up by what it is about.
create index blacklist_lifted_iban on blacklist (iban_fingerprint, reason_code) where lifted_at is not null;
create index blacklist_lifted_name on blacklist (name_key, reason_code)
where lifted_at is not null and name_key is not null;
create index blacklist_lifted_email on blacklist (email, reason_code)
where lifted_at is not null and email is not null;

create table forgiven_disputes (
    attempt_id bigint not null references billing_attempts (id),
    dispute_stage smallint not null,
    blacklist_id bigint not null references blacklist (id),
    forgiven_at timestamptz not null,
    forgiven_by text not null,
    because text not null,
    primary key (attempt_id, dispute_stage),
    constraint forgiven_disputes_dispute_stage_known check (dispute_stage in (1, 3))
);

-- The key that the fingerprints of this database are made with, by a value that tells it from others; one row.
create table fingerprint_key (
    single boolean primary key default true,
    check_value bytea not null,
    recorded_at timestamptz not null,
    constraint fingerprint_key_one_row check (single)
);

-- Orders to make all fingerprints anew with another key: who, when and why, how far each has come, what it changed.
create table fingerprint_rekeyings (
    id bigint generated always as identity primary key,
    check_before bytea,
    check_after bytea not null,
    ordered_by text not null,
    because text not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    superseded_at timestamptz,
    debtor_position bigint not null default 0,
    debtors bigint not null default 0,
    attempts bigint not null default 0,
    entries bigint not null default 0,
    constraint fingerprint_rekeyings_ended_once check (finished_at is null or superseded_at is null)
);
create unique index fingerprint_rekeyings_one_open on fingerprint_rekeyings ((true))
where finished_at is null and superseded_at is null;

-- Blacklist entries that a rekeying could not change, because no debtor has their account.
create table fingerprint_rekeying_unmatched (
    rekeying_id bigint not null references fingerprint_rekeyings (id),
    blacklist_id bigint not null references blacklist (id),
    primary key (rekeying_id, blacklist_id)
);
