-- return_policies: versions of the return policy, dry runs of them, and which one decides.
--
-- A version and a switch are never changed. The version of the last switch decides, version 0 (built in) before the first. Every transaction that
-- decides about a return takes the shared lock below before it reads which version that is, and a switch takes it alone: the switch waits for the
-- decisions that are being made, and those that begin after it read the new version. So no two nodes decide by different versions.

-- lock_to_decide --
-- Hold off switches until this transaction ends. The version is read by a later statement: this one sees what was committed before it waited.
select pg_advisory_xact_lock_shared(hashtextextended('tether return policy', 0));

-- lock_to_switch --
-- Wait for all decisions that are being made, and hold off new ones until this transaction ends; at most %(wait)s.
select
    set_config('lock_timeout', %(wait)s, true),
    pg_advisory_xact_lock(hashtextextended('tether return policy', 0));

-- active --
-- The version that decides, with its rules; none before the first switch, null rules for version 0.
select s.version, p.rules
from (select version from return_policy_switches order by id desc limit 1) s
left join return_policies p on p.version = s.version;

-- by_version --
-- Who made a version, when and why. 0 or 1 row.
select version, based_on, reason, created_by, created_at from return_policies where version = %(version)s;

-- rules_of --
-- The rules of a version. 0 or 1 row.
select version, rules from return_policies where version = %(version)s;

-- listed --
-- All versions, newest first: at most %(limit)s rows.
select version, based_on, reason, created_by, created_at from return_policies order by version desc limit %(limit)s;

-- lock_to_add --
-- Let no other transaction add a version until this one ends.
select pg_advisory_xact_lock(hashtextextended('tether return policy versions', 0));

-- next_version --
-- The number of the next version. One row.
select coalesce(max(version), 0) + 1 from return_policies;

-- add --
-- Store a version.
insert into return_policies (version, based_on, rules, reason, created_by, created_at)
values (%(version)s, %(based_on)s, %(rules)b, %(reason)s, %(created_by)s, %(now)s);

-- add_dry_run --
-- Store a dry run. Returns its id.
insert into return_policy_dry_runs (version, against, result, made_by, made_at)
values (%(version)s, %(against)s, %(result)b, %(made_by)s, %(now)s)
returning id;

-- last_dry_run --
-- The last dry run of a version, against one version where %(against)s is not null. 0 or 1 row.
select id, result, made_by, made_at
from return_policy_dry_runs
where version = %(version)s and (%(against)s::integer is null or against = %(against)s)
order by id desc
limit 1;

-- was_active --
-- Whether a version was active before. One row.
select exists (select from return_policy_switches where version = %(version)s);

-- switch --
-- Switch a version on. Returns the row.
insert into return_policy_switches (version, version_before, dry_run_id, reason, switched_by, switched_at)
values (%(version)s, %(version_before)s, %(dry_run_id)s, %(reason)s, %(switched_by)s, %(now)s)
returning id, version, version_before, dry_run_id, reason, switched_by, switched_at;

-- switches --
-- The last switches, newest first: at most %(limit)s rows.
select id, version, version_before, dry_run_id, reason, switched_by, switched_at
from return_policy_switches
order by id desc
limit %(limit)s;

-- returns_seen --
-- Returns of n reason codes in a range of days, of known debits, by code, currency and number of the try. One row per group.
select a.reason_code, a.currency, a.try_number, count(*) as count, sum(a.amount_minor)::bigint as amount_minor
from billing_attempts a
where
    a.state = 'chargebacked' and a.reason_code = any(%(codes)s)
    and a.returned_on between %(from_on)s and %(to_on)s
    and a.try_number is not null
group by a.reason_code, a.currency, a.try_number;

-- {first_returns} --
-- The first return of each account with one of n reason codes in a range of days. No account that another entry keeps out anyway.
select distinct on (a.iban_fingerprint, a.currency) a.iban_fingerprint, a.currency, a.amount_minor, a.returned_on
from billing_attempts a
where
    a.state = 'chargebacked' and a.reason_code = any(%(codes)s)
    and a.returned_on between %(from_on)s and %(to_on)s
    and a.iban_fingerprint <> ''
    and not exists (
        select from blacklist b
        where b.iban_fingerprint = a.iban_fingerprint and b.lifted_at is null and b.reason_code <> all(%(codes)s)
    )
order by a.iban_fingerprint, a.currency, a.returned_on, a.id

-- accounts_blocked --
-- Accounts whose first return has one of n reason codes, and what was collected from them after it. One row per currency.
with first_returns as ({first_returns})
select
    f.currency, count(*) as accounts, sum(f.amount_minor)::bigint as amount_minor,
    sum(later.collected)::bigint as collected, sum(later.collected_minor)::bigint as collected_minor,
    sum(later.returned)::bigint as returned, sum(later.returned_minor)::bigint as returned_minor
from first_returns f
cross join lateral (
    select
        count(*) filter (where a.returned_on is null and a.refunded_on is null) as collected,
        coalesce(sum(a.amount_minor) filter (where a.returned_on is null and a.refunded_on is null), 0) as collected_minor,
        count(*) filter (where a.returned_on is not null) as returned,
        coalesce(sum(a.amount_minor) filter (where a.returned_on is not null), 0) as returned_minor
    from billing_attempts a
    where
        a.iban_fingerprint = f.iban_fingerprint and a.currency = f.currency and a.collected_on is not null
        and (coalesce(a.submitted_at, a.created_at) at time zone 'UTC')::date > f.returned_on
        and (coalesce(a.submitted_at, a.created_at) at time zone 'UTC')::date <= %(to_on)s
) later
group by f.currency;

-- accounts_freed --
-- Accounts whose first return has one of n reason codes, and that have no return with any of the codes that block all the same. One row per
-- currency.
with first_returns as ({first_returns})
select f.currency, count(*) as accounts, sum(f.amount_minor)::bigint as amount_minor
from first_returns f
where not exists (
    select from billing_attempts a
    where a.iban_fingerprint = f.iban_fingerprint and a.state = 'chargebacked' and a.reason_code = any(%(blocking)s)
)
group by f.currency;

-- tries_made --
-- Tries after a return that were submitted in a range of days and became final, by reason of the return, currency and number. One row per group.
select
    earlier.reason_code, a.currency, a.try_number, count(*) as count, sum(a.amount_minor)::bigint as amount_minor,
    count(*) filter (where a.collected_on is not null and a.returned_on is null and a.refunded_on is null) as collected,
    coalesce(
        sum(a.amount_minor) filter (where a.collected_on is not null and a.returned_on is null and a.refunded_on is null), 0
    )::bigint as collected_minor,
    count(*) filter (where a.returned_on is not null) as returned,
    coalesce(sum(a.amount_minor) filter (where a.returned_on is not null), 0)::bigint as returned_minor
from billing_attempts a
join billing_attempts earlier on earlier.id = a.retry_of
where
    a.retry_of is not null and a.try_number > 1 and a.state in ('approved', 'declined', 'error', 'chargebacked')
    and (a.submitted_at at time zone 'UTC')::date between %(from_on)s and %(to_on)s
    and earlier.reason_code is not null
group by earlier.reason_code, a.currency, a.try_number;
