-- A simulated time: each month as many notifications, events, debtors without a debit, and rows of files that became no debtors. Everything is for a
-- migrated database; numbers go on from month to month.

-- notifications --
-- %(rows)s processed notifications from %(first)s on, of the month that begins at %(at)s.
insert into webhook_events (
    key, content, account, kind, notification_id, status, source, content_type, body, state, outcome, reason, failures, received_at, handled_at
)
select
    decode(md5('month key ' || n), 'hex'), decode(md5('month content ' || n), 'hex'), 'default', 'payment', md5('month unique ' || n), 'approved',
    'webhook', 'application/x-www-form-urlencoded',
    convert_to(
        'unique_id=' || md5('month unique ' || n) || '&transaction_type=sdd_sale&amount=1000&currency=EUR&status=approved&signature=' || md5('one ' || n),
        'UTF8'
    ),
    'processed', 'applied', 'moved', 0, %(at)s, %(at)s
from generate_series(%(first)s::bigint, %(first)s::bigint + %(rows)s - 1) as n;

-- events --
-- As many events of that month.
insert into outbox (name, version, payload, occurred_at)
select 'attempt.status_changed', 1, convert_to('{"event":"attempt.status_changed.1","attempt_id":' || n || '}', 'UTF8'), %(at)s
from generate_series(%(first)s::bigint, %(first)s::bigint + %(rows)s - 1) as n;

-- reviewed --
-- The review of differences has read all events.
insert into reconciliation_reviews (name, position, updated_at)
values (%(name)s, (select coalesce(max(id), 0) from outbox), %(at)s)
on conflict (name) do update set position = excluded.position;

-- upload --
-- An upload of that month. Returns its id.
insert into uploads (object_key, filename, size_bytes, sha256, state, created_at, updated_at, preview)
values ('seeded/month-' || %(first)s, 'month.csv', 1, '', 'completed', %(at)s, %(at)s, '[]')
returning id;

-- debtors --
-- Its debtors without a debit: one for ten notifications.
insert into debtors (upload_id, row_number, iban, iban_fingerprint, name, amount_minor, currency, created_at)
select %(upload_id)s, n, 'DE00' || lpad(n::text, 18, '0'), decode(md5('month debtor ' || %(first)s + n), 'hex'), 'Filled Row', 1000, 'EUR', %(at)s
from generate_series(1, greatest(%(rows)s / 10, 1)) as n;

-- problems --
-- Its rows that became no debtors: one for fifty notifications.
insert into problems (upload_id, row_number, ordinal, level, column_name, code, excerpt, note, cells)
select %(upload_id)s, n, 0, 'error', 'IBAN', 'iban_check_digits', 'DE00', 'The check digits do not fit.', '["A","B","C"]'
from generate_series(1, greatest(%(rows)s / 50, 1)) as n;

-- vacuumed --
-- As autovacuum leaves the tables.
vacuum (analyze) webhook_events, outbox, debtors, problems, archived_notifications;

-- sizes --
-- The size of the tables with their indexes, in bytes. One row each: name, size.
select name, pg_total_relation_size(name::regclass)
from unnest('{webhook_events,outbox,debtors,problems,archived_notifications,archives}'::text[]) as name;

-- left --
-- How many notifications are in the inbox. One row.
select count(*) from webhook_events;

-- pruned --
-- How many rows of notifications were archived and deleted. One row.
select coalesce(sum(rows), 0) from archives where kind = 'notifications' and pruned_at is not null;

-- archives --
-- How many archives there are, and how many of them hold rows that are not deleted yet. One row.
select count(*), count(*) filter (where pruned_at is null) from archives;
