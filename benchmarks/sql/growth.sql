-- Tables as they are after months: debtors, attempts and notifications that are long done with. All of it is for an empty,
-- migrated database. Keys and ids are hashes, as they are in life, so that new ones fall between old ones everywhere in
-- an index; times and row ids rise.

-- quickly --
-- For the length of a transaction: no checks of references, which hold by construction, no wait for the disk, and room to
-- sort.
select
    set_config('session_replication_role', 'replica', true), set_config('synchronous_commit', 'off', true),
    set_config('maintenance_work_mem', '512MB', true);

-- indexes --
-- What has to go before a table is filled, and how it comes back: indexes, and constraints that are kept by one, unless a
-- reference needs them. One row each: the statement that drops it, the statement that makes it.
select
    case
        when c.oid is null then format('drop index %%I', i.relname)
        else format('alter table %%I drop constraint %%I', t.relname, c.conname)
    end,
    case
        -- Of a partitioned table, the index of the whole.
        when c.oid is null then replace(pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON ')
        else format('alter table %%I add constraint %%I %%s', t.relname, c.conname, pg_get_constraintdef(c.oid))
    end
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_class t on t.oid = x.indrelid
left join pg_constraint c on c.conindid = x.indexrelid and c.conrelid = t.oid and c.contype in ('p', 'u', 'x')
where
    t.relname = %(table)s and not x.indisprimary
    and not exists (select from pg_constraint f where f.conindid = x.indexrelid and f.contype = 'f')
order by i.relname;

-- debtors --
-- One debtor for ten attempts.
insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)
select
    'DE00' || lpad(n::text, 18, '0'), decode(md5('debtor ' || n), 'hex'), 'Filled Row', 1000, 'EUR',
    %(now)s - interval '91 days'
from generate_series(1, greatest(%(rows)s / 10, 1)) as n;

-- attempts --
-- %(rows)s attempts, all of them approved, made over the last ninety days.
insert into billing_attempts (
    account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
    iban_fingerprint, iban_masked, created_at, updated_at
)
select
    'default', 1 + n %% greatest(%(rows)s / 10, 1), 'fill-' || left(md5('transaction ' || n), 20), md5('unique ' || n),
    199 + n %% 9800, 'EUR', 'approved', 60, 0, decode(md5('debtor ' || 1 + n %% greatest(%(rows)s / 10, 1)), 'hex'),
    'DE00 **** 0000', given.at, given.at
from generate_series(1, %(rows)s) as n
cross join lateral (
    select %(now)s - interval '90 days' * (1 - n::double precision / %(rows)s) as at
) as given;

-- notifications --
-- %(rows)s notifications, each applied, and of one of those attempts where %(have_attempts)s.
insert into webhook_events (
    key, content, account, kind, notification_id, status, source, content_type, body, state, outcome, reason, failures,
    attempt_id, received_at, handled_at
)
select
    decode(md5('key ' || n), 'hex'), decode(md5('content ' || n), 'hex'), 'default', 'payment', md5('unique ' || n),
    'approved', 'webhook', 'application/x-www-form-urlencoded',
    convert_to(
        'transaction_id=fill-' || left(md5('transaction ' || n), 20) || '&unique_id=' || md5('unique ' || n)
        || '&transaction_type=sdd_sale&terminal_token=sandbox-terminal&amount=1000&currency=EUR&status=approved&signature='
        || md5('one ' || n) || '01234567',
        'UTF8'
    ),
    'processed', 'applied', 'moved', 0, case when %(have_attempts)s then n end, given.at, given.at + interval '20 milliseconds'
from generate_series(1, %(rows)s) as n
cross join lateral (
    select %(now)s - interval '90 days' * (1 - n::double precision / %(rows)s) as at
) as given;

-- tidied_notifications --
-- As autovacuum leaves it; done now, so that it is not done while something is measured.
vacuum (freeze, analyze) webhook_events;

-- tidied_attempts --
-- Likewise.
vacuum (freeze, analyze) billing_attempts;

-- resolved --
-- Write what is dirty, so that no checkpoint of ours falls into a measurement.
checkpoint;

-- sizes --
-- One row: notifications, attempts, and the size of both with their indexes in bytes.
select
    (select count(*) from webhook_events), (select count(*) from billing_attempts),
    pg_total_relation_size('webhook_events') + pg_total_relation_size('billing_attempts');
