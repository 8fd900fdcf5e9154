-- What people changed of debtors; the queries are in tether_stores/debtor_edits.sql.
create table debtor_edits (
    id bigint generated always as identity primary key,
    debtor_id bigint not null references debtors (id),
    version integer not null,
    -- Field, former and new value for people, account numbers masked; tether_core.debtor_edits.Change.
    changes json not null,
    reason text not null,
    verdict_before text not null,
    verdict_after text not null,
    -- The former account where it changed: debits and blacklist entries of before are found by its fingerprint.
    iban_before text,
    iban_fingerprint_before bytea,
    edited_by text not null,
    edited_at timestamptz not null,
    constraint debtor_edits_version_positive check (version > 0),
    constraint debtor_edits_account_with_fingerprint check ((iban_before is null) = (iban_fingerprint_before is null))
);
-- Two edits of one version: the second finds the first.
create unique index debtor_edits_once on debtor_edits (debtor_id, version);
create index debtor_edits_by_fingerprint on debtor_edits (iban_fingerprint_before) where iban_fingerprint_before is not null;
