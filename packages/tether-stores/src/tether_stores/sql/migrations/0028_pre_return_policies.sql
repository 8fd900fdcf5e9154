-- Versions of the return policy; rules is JSON of tether_core.return_policies.policy.Rule by reason code. Version 0 is built in.
create table return_policies (
    version integer primary key,
    based_on integer not null,
    rules bytea not null,
    reason text not null,
    created_by text not null,
    created_at timestamptz not null,
    constraint return_policies_version_positive check (version > 0),
    constraint return_policies_based_on_earlier check (based_on >= 0 and based_on < version),
    constraint return_policies_reason_given check (reason <> '')
);

-- Dry runs of a version over past returns, against the version that decided then; result is JSON of
-- tether_core.return_policies.dry_run.DryRun.
create table return_policy_dry_runs (
    id bigint generated always as identity primary key,
    version integer not null references return_policies (version),
    against integer not null,
    result bytea not null,
    made_by text not null,
    made_at timestamptz not null
);
create index return_policy_dry_runs_by_version on return_policy_dry_runs (version, against, id);

-- Which version decides: that of the last row, version 0 before the first.
create table return_policy_switches (
    id bigint generated always as identity primary key,
    version integer not null,
    version_before integer not null,
    -- The dry run that was looked at; null where the version was active before.
    dry_run_id bigint references return_policy_dry_runs (id),
    reason text not null,
    switched_by text not null,
    switched_at timestamptz not null,
    constraint return_policy_switches_switch check (version <> version_before),
    constraint return_policy_switches_reason_given check (reason <> '')
);
create index return_policy_switches_by_version on return_policy_switches (version);

-- The version of the return policy that decided; null for decisions of before, and of people.
alter table blacklist add column policy_version integer;
alter table billing_attempts add column return_policy_version integer;
