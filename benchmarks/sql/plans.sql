-- Tables as they are after a year, for explain plans: %(rows)s debtors, attempts, notifications and events, and the other tables in
-- proportion. All of it is for an empty, migrated database. The last 40 of 100 rows belong to one upload that is being billed; the
-- other uploads have a thousand rows each. What waits for something is little, and what is long done with is much, except
-- that the banks have not answered yet to most of the upload that is being billed.

-- quickly --
-- For the session: no checks of references, which hold by construction, no wait for the disk, and room to sort.
select
    set_config('session_replication_role', 'replica', false), set_config('synchronous_commit', 'off', false),
    set_config('maintenance_work_mem', '256MB', false);

-- indexes --
-- What has to go before a table is filled, and how it comes back. One row each: the statement that drops it, the statement
-- that makes it.
select
    case
        when c.oid is null then format('drop index %%I', i.relname)
        else format('alter table %%I drop constraint %%I', t.relname, c.conname)
    end,
    case
        when c.oid is null then pg_get_indexdef(x.indexrelid)
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

-- uploads --
insert into uploads (
    object_key, filename, size_bytes, sha256, state, created_at, updated_at, content_key, dry_run, rows_read, stored,
    finished_at, screened_at
)
select
    'uploads/' || n, 'list-' || n || '.csv', 100000, decode(md5('file ' || n), 'hex'),
    'completed', given.at, given.at, decode(md5('content ' || n), 'hex'),
    n %% 100 = 4, 1000, 1000, given.at, given.at
from generate_series(1, %(rows)s / 1000) as n
cross join lateral (select %(now)s - interval '400 days' * (1 - n / (%(rows)s / 1000)::float) as at) given;

-- debtors --
insert into debtors (
    upload_id, row_number, iban, iban_fingerprint, name, amount_minor, currency, created_at, reference, customer_id, email,
    verdict, cause, reasons
)
select
    given.upload_id, n, 'DE' || lpad((n * 7919::bigint %% 1000000007)::text, 20, '0'), decode(md5('debtor ' || n / 2), 'hex'),
    (array['Anna', 'Bernd', 'Clara', 'David', 'Emma', 'Frank', 'Greta', 'Hans', 'Ines', 'Jonas', 'Klara', 'Lukas'])[1 + n %% 12]
        || ' ' || (array['Schmidt', 'Meyer', 'Weber', 'Wagner', 'Becker', 'Hoffmann', 'Koch'])[1 + n %% 7]
        || case when n %% 3 = 0 then ' ' || left(md5('name ' || n), 7) else '' end,
    199 + n %% 9800, 'EUR', given.at, 'INV-' || n, 'C-' || n / 3, case when n %% 4 = 0 then 'p' || n || '@example.org' end,
    case when n %% 33 = 0 then 'blacklisted' else 'clear' end, case when n %% 33 = 0 then 'It is on the blacklist.' end,
    case when n %% 33 = 0 then '[{"rule": "blacklisted"}]'::jsonb end
from generate_series(1, %(rows)s) as n
cross join lateral (
    select
        case when n > %(of_60)s then %(rows)s / 1000 else 1 + (n - 1) / 1000 end as upload_id,
        case
            when n > %(of_60)s then %(now)s - interval '9 days'
            else %(now)s - interval '400 days' * (1 - n::float / %(of_60)s)
        end as at
    offset 0
) given;

-- edits --
-- One debtor in a thousand was edited, and a third of these have another account since.
insert into debtor_edits (
    debtor_id, version, changes, reason, verdict_before, verdict_after, iban_before, iban_fingerprint_before, edited_by, edited_at
)
select
    n * 990, 1, '[]', 'fill', 'clear', 'clear', case when n %% 3 = 0 then 'DE' || n end,
    case when n %% 3 = 0 then decode(md5('former ' || n), 'hex') end, 'fill', %(now)s
from generate_series(1, %(rows)s / 1000) as n;

-- runs --
insert into billing_runs (
    upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at, finished_at
)
select
    n, case when n %% 5 = 4 then 'second' else 'default' end, 'once',
    case when n = %(rows)s / 1000 or n in (11, 12) then 'running' when n %% 100 = 3 then 'cancelled' when n = 13 then 'planning' else 'finished' end,
    '{}', '{}', 'fill', given.at, given.at,
    case when n = %(rows)s / 1000 or n in (11, 12, 13) then null else given.at end
from generate_series(1, %(rows)s / 1000) as n
cross join lateral (select %(now)s - interval '400 days' * (1 - n / (%(rows)s / 1000)::float) as at) given;

-- collection_plans --
-- Twenty plans, of which two are paused.
insert into collection_plans (name, account, options, state, created_by, created_at, updated_at)
select 'plan ' || n, 'default', '{}', case when n %% 10 = 0 then 'paused' else 'active' end, 'fill', %(now)s, %(now)s
from generate_series(1, 20) as n;

-- mandates --
-- One debtor in 20 has a mandate and a schedule with four due items and their pre-notifications.
insert into mandates (
    account, debtor_id, reference, reference_key, kind, state, iban_masked, signed_on, uses, account_since_at, ended_at, ended_reason,
    created_by, created_at, updated_at
)
select
    'default', n * 20, 'M-' || n, 'm-' || n, 'recurrent', case when n %% 50 = 0 then 'revoked' else 'active' end, 'DE**', '2025-01-01', 3,
    %(now)s - interval '100 days', case when n %% 50 = 0 then %(now)s end, case when n %% 50 = 0 then 'fill' end, 'fill', %(now)s, %(now)s
from generate_series(1, %(rows)s / 20) as n;

-- schedules --
insert into collection_schedules (
    collection_plan_id, debtor_id, mandate_id, amount_minor, first_due_on, next_number, make_on, state, created_by, created_at, updated_at
)
select
    1 + n %% 20, n * 20, n, 1000, (%(now)s - interval '100 days')::date, 4,
    case when n %% 50 <> 0 then (%(now)s + make_interval(days => (n %% 30)::integer - case when n %% 500 = 1 then 3 else 0 end))::date end,
    case when n %% 50 = 0 then 'ended' else 'active' end, 'fill', %(now)s, %(now)s
from generate_series(1, %(rows)s / 20) as n;

-- due_items --
insert into due_items (
    schedule_id, collection_plan_id, upload_id, debtor_id, due_on, due_item, amount_minor, is_last, state, collect_from_on, collect_on,
    run_id, ordered_on, sequence, created_at, updated_at
)
select
    n, 1 + n %% 20, 1 + (n * 20 - 1) / 1000, n * 20, given.due_on, given.due_on::text, 1000, false, given.state, given.due_on,
    case when given.state = 'waiting' then given.due_on end, case when given.state = 'ordered' then 1 + (n * 20 - 1) / 1000 end,
    case when given.state = 'ordered' then given.due_on end, case when given.state = 'ordered' then 'RCUR' end, %(now)s, %(now)s
from generate_series(1, %(rows)s / 20) as n
cross join generate_series(0, 3) as month
cross join lateral (
    select
        (%(now)s - make_interval(days => (90 - 30 * month)::integer))::date as due_on,
        case
            when month = 3 and n %% 400 = 7 then 'waiting' when month = 2 and n %% 100 = 9 then 'missed' when n %% 90 = 8 then 'skipped'
            else 'ordered'
        end as state
    offset 0
) given;

-- pre_notifications --
insert into pre_notifications (
    account, upload_id, debtor_id, due_item, due_item_id, due_on, give_on, notice_days, amount_minor, currency, text, state, batch,
    given_at, given_by, created_at, updated_at
)
select
    'default', i.upload_id, i.debtor_id, i.due_item, i.id, i.due_on, i.due_on - 14, 14, 1000, 'EUR', 'fill', given.state,
    case when given.state = 'given' or i.id %% 7000 = 5 then 'batch-' || i.id / 1000 end, case when given.state = 'given' then %(now)s end,
    case when given.state = 'given' then 'fill' end, %(now)s, %(now)s
from due_items i
cross join lateral (
    select case when i.id %% 1000 = 5 then 'made' when i.id %% 1000 = 6 then 'withdrawn' else 'given' end as state offset 0
) given;

-- run_counts --
insert into billing_run_counts (run_id, answered, refused, refused_at)
select n, 900, 10, %(now)s - interval '9 days' from generate_series(1, %(rows)s / 1000) as n;

-- attempts --
insert into billing_attempts (
    account, debtor_id, transaction_id, unique_id, amount_minor, currency, state, payment_stage, dispute_stage,
    reason_code, iban_fingerprint, iban_masked, created_at, updated_at, run_id, due_item, try_number, retry_of, submit_at,
    leased_until, submitted_at, submission_count, not_submitted_reason, inquiry_count, inquire_at, return_handled_at, retry_on, retry_why, is_retried, submitted_to, unresolved_reason
)
select
    case when given.upload_id %% 5 = 4 then 'second' else 'default' end, given.debtor_id,
    'fill-' || left(md5('transaction ' || n), 20), case when given.step >= 20 then md5('unique ' || n) end, 199 + n %% 9800, 'EUR',
    case
        when given.dispute = 1 then 'chargebacked' when given.step in (0, 20) then 'pending' when given.step in (10, 30) then 'unknown'
        when given.step = 40 then 'error' when given.step = 50 then 'declined' when given.step = 70 then 'voided' when given.step = 80 then 'refunded'
        else 'approved'
    end,
    given.step, given.dispute,
    case when given.dispute = 1 then (array['AC04', 'AM04', 'MD06', 'MD01'])[1 + n %% 4] end,
    decode(md5('debtor ' || given.debtor_id / 2), 'hex'), 'DE00 **** 0000', given.at, given.at,
    case when n > %(of_02)s then given.upload_id end,
    case when n > %(of_02)s then 'once' end,
    case when n > %(of_02)s then given.try_number end,
    case when given.try_number = 2 then given.debtor_id end,
    case when given.step = 0 and n %% 4 <> 1 then given.at end,
    case when given.step = 0 and n %% 4 = 1 then %(now)s + interval '1 minute' end,
    case when given.step > 0 or n %% 4 = 1 then given.at end, case when given.step > 0 or n %% 4 = 1 then 1 else 0 end,
    case when given.step = 40 then 'blacklisted' end,
    case when given.step = 30 and n %% 2 = 0 then 12 when given.step > 30 then 2 else 0 end,
    case when given.step in (10, 20) and n %% 3 = 0 then %(now)s + interval '1 hour' * (n %% 24) - interval '1 minute' end,
    case when given.dispute = 1 and n <= %(of_60)s - 100 then given.at end,
    case when given.dispute = 1 and n <= %(of_60)s - 100 and n %% 40 < 8 then (given.at + interval '10 days')::date end,
    case when given.dispute = 1 and n <= %(of_60)s - 100 then case when n %% 40 < 8 then 'retry' else 'reason' end end,
    given.dispute = 1 and n %% 5000 > 40,
    case when given.step > 0 then array['0123456789abcdef'] end,
    case when given.step = 10 and n %% 2 = 0 then 'not_found_elsewhere' end
from generate_series(1, %(rows)s) as n
cross join lateral (
    select
        case when n > %(of_60)s then %(rows)s / 1000 else 1 + (n - 1) / 1000 end as upload_id,
        -- The tries that came after returns: of debtors of the tenth before them.
        case when n > %(of_55)s and n <= %(of_60)s then n - %(of_25)s else n end as debtor_id,
        case when n > %(of_55)s and n <= %(of_60)s then 2 else 1 end as try_number,
        case
            when n > %(of_60)s and n <= %(of_60)s + 200 then 10
            when n > %(of_60)s and n <= %(of_90)s then 20
            when n > %(rows)s - 400 then 0
            when n %% 20000 = 77 then 30
            when n > %(of_02)s and n <= %(of_03)s and n / 1000 %% 100 = 2 and n %% 10 = 0 then 0
            when n %% 100 = 91 then 40 when n %% 100 in (92, 93, 94, 95) then 50 when n %% 100 = 96 then 70
            when n %% 100 in (97, 98) then 80
            else 60
        end as step,
        case when n <= %(of_60)s and (n %% 40 < 8 and n %% 5 = 0 or n %% 1000 = 98) then 1 else 0 end as dispute,
        case
            when n > %(of_60)s then %(now)s - interval '8 days' * ((%(rows)s - n) / (%(rows)s - %(of_60)s)::float)
            else %(now)s - interval '400 days' * (1 - n::float / %(of_60)s) - interval '9 days'
        end as at
    offset 0
) given;

-- imported --
insert into imported_attempts (attempt_id, payment_stage, dispute_stage, imported_at)
select n, 60, 0, %(now)s from generate_series(1, %(rows)s / 50) as n;

-- notifications --
insert into webhook_events (
    key, content, account, kind, notification_id, status, event, source, content_type, body, state, outcome, reason, failures,
    attempt_id, received_at, handled_at, next_at, conflicts_with, listed_on, happened_at, report_class, contradicted_count,
    first_contradicted_at, last_contradicted_at
)
select
    decode(md5('key ' || n), 'hex'), decode(md5('content ' || n), 'hex'), 'default', case when n %% 500 = 1 then 'kyc' else 'payment' end,
    md5('unique ' || n), case when n %% 40 = 5 then 'chargebacked' else 'approved' end,
    case when n %% 40 = 5 then 'chargeback' end, case when n %% 10 = 3 then 'report' else 'webhook' end,
    'application/x-www-form-urlencoded',
    convert_to('transaction_id=fill-' || left(md5('transaction ' || n), 20) || '&unique_id=' || md5('unique ' || n) || '&status=approved', 'UTF8'),
    given.state, case when given.state = 'processed' then 'applied' end,
    case when given.state = 'waiting' and n %% 2 = 0 then 'unknown_payment' when given.state = 'processed' then 'moved' else 'conflicting' end, 0,
    n, given.at, given.at,
    case when given.state in ('waiting', 'confirming') then %(now)s + interval '1 minute' * (n %% 60 - 30) end,
    case when given.state = 'conflicting' then n - 1 end, case when n %% 2 = 0 then given.at::date end, given.at,
    case when n %% 10 = 3 then '' else 'approved' end, case when given.state = 'contradicted' then 3 else 0 end,
    case when given.state = 'contradicted' then given.at end, case when given.state = 'contradicted' then given.at end
from generate_series(1, %(rows)s) as n
cross join lateral (
    select
        %(now)s - interval '400 days' * (1 - n::float / %(rows)s) as at,
        case
            when n > %(rows)s - 600 then 'waiting' when n > %(rows)s - 900 then 'confirming'
            when n %% 3001 = 0 then 'parked' when n %% 3001 = 1 then 'conflicting' when n %% 3001 = 2 then 'contradicted'
            else 'processed'
        end as state
    offset 0
) given;

-- events --
insert into outbox (name, version, payload, webhook_event_id, occurred_at)
select
    case when n %% 100 = 0 then 'upload.completed' else 'attempt.status_changed' end, 1, convert_to('{"attempt_id": ' || n || '}', 'UTF8'), n, %(now)s
from generate_series(1, %(rows)s) as n;

-- problems --
insert into problems (upload_id, row_number, ordinal, level, column_name, code, excerpt, note, cells)
select
    case when n > %(of_30)s then %(rows)s / 1000 else 1 + (n - 1) / 1000 end, n, 0,
    case when n %% 2 = 0 then 'error' else 'warning' end, 'iban', case when n %% 5 = 0 then 'iban_checksum' else 'name_missing' end, 'x', 'y',
    case when n %% 2 = 0 then '["a"]'::json end
from generate_series(1, %(rows)s / 2) as n;

-- checks --
insert into vop_checks (debtor_id, state, next_at, requested_at, checked_at, result, score, answered)
select
    n, case when n %% 2000 = 0 then 'waiting' else 'checked' end, case when n %% 2000 = 0 then %(now)s end, %(now)s,
    case when n %% 2000 = 0 then null else %(now)s end, case when n %% 2000 = 0 then null else 'verified' end,
    case when n %% 2000 = 0 then null else 90 end, case when n %% 2000 = 0 then null else 100 end
from generate_series(%(rows)s / 2 + 1, %(rows)s) as n;

-- entries --
insert into blacklist (
    iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by, attempt_id, created_at, expires_at,
    lifted_at, lifted_by, lifted_reason, name, name_key, email
)
select
    case when given.about = 0 then decode(md5('debtor ' || n), 'hex') end, case when given.about = 0 then 'DE00 **** 0000' end,
    case when n %% 4 = 0 then 'hold' else 'block' end, case given.about when 0 then 'iban' when 1 then 'name' else 'email' end,
    (array['AC04', 'AM04', 'MD06', 'MD01'])[1 + n %% 4], '', case when n %% 10 = 0 then 'manual' else 'chargeback' end, 'tether', n,
    %(now)s - interval '300 days', case when n %% 100 = 50 then %(now)s - interval '1 day' end,
    case when n %% 10 = 3 then %(now)s end, case when n %% 10 = 3 then 'someone' end, case when n %% 10 = 3 then 'paid' end,
    case when given.about = 1 then 'Name ' || n end, case when given.about = 1 then 'name ' || n end,
    case when given.about = 2 then 'p' || n || '@example.org' end
from generate_series(1, %(rows)s / 5) as n
cross join lateral (select case when n %% 50 = 0 then 1 when n %% 50 = 1 then 2 else 0 end as about) given;

-- disputes --
insert into blacklist_disputes (blacklist_id, attempt_id, dispute_stage, dispute_id)
select n, n, 1, '' from generate_series(1, %(rows)s / 10) as n;

-- forgiven --
insert into forgiven_disputes (attempt_id, dispute_stage, blacklist_id, forgiven_at, forgiven_by, reason)
select n * 40, 1, n, %(now)s, 'someone', 'paid' from generate_series(1, %(rows)s / 100) as n;

-- refunds --
insert into refunds (
    attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage, state, payment_stage, ordered_by,
    created_at, updated_at, submit_at, leased_until, submitted_at, submission_count
)
select
    n * 10, case when n %% 3 = 0 then 'void' else 'refund' end, 1, case when n %% 5 = 4 then 'second' else 'default' end,
    'back-' || left(md5('refund ' || n), 20), case when given.step >= 20 then md5('refund ' || n) end, 100, 'EUR', 'Refund',
    case given.step when 0 then 'pending' when 10 then 'unknown' when 20 then 'pending' when 50 then 'declined' else 'approved' end, given.step,
    'someone', %(now)s - interval '10 days', %(now)s - interval '10 days',
    case when given.step = 0 and n %% 2 = 0 then %(now)s - interval '1 minute' end,
    case when given.step = 0 and n %% 2 = 1 then %(now)s - interval '1 minute' end,
    case when given.step > 0 or n %% 2 = 1 then %(now)s - interval '10 days' end, case when given.step > 0 or n %% 2 = 1 then 1 else 0 end
from generate_series(1, %(rows)s / 10) as n
cross join lateral (
    select case when n %% 2000 < 2 then 0 when n %% 2000 = 2 then 10 when n %% 2000 < 10 then 20 when n %% 10 = 0 then 50 else 60 end as step
    offset 0
) given;

-- voids --
insert into run_voids (run_id, state, usage, reason, ordered_by, created_at, updated_at, finished_at)
select n * 7 %% (%(rows)s / 1000), 'finished', 'x', 'x', 'someone', %(now)s, %(now)s, %(now)s
from generate_series(1, 100) as n;

-- void_debits --
insert into run_void_debits (void_id, attempt_id, amount_minor, refused, refused_reason)
select 1 + n %% 100, n, 100, 'earlier_day', 'x' from generate_series(1, %(rows)s / 20) as n;

-- gateway_refunds --
insert into gateway_refunds (
    unique_id, attempt_id, account, kind, amount_minor, currency, state, inquire_at, first_seen_at, updated_at
)
select
    case when n %% 2 = 0 then md5('refund ' || n) else md5('office ' || n) end, n * 10, 'default', 'refund', 100, 'EUR',
    case when n %% 500 = 0 then 'reported' else 'approved' end, case when n %% 500 = 0 then %(now)s - interval '1 minute' end, %(now)s, %(now)s
from generate_series(1, %(rows)s / 20) as n;

-- differences --
insert into reconciliation_differences (
    kind, attempt_id, subject, ours, theirs, holds_refunds, first_seen_at, last_seen_at, resolved_at, run_id,
    acknowledged_at, acknowledged_by, acknowledged_reason
)
select
    (array['collected_twice', 'state_differs', 'amount_differs', 'pending_too_long'])[1 + n %% 4], n * 10, 's' || n, 'a', 'b', n %% 2 = 0,
    %(now)s, %(now)s, case when n %% 1000 > 3 then %(now)s end, 1 + n / 100,
    case when n %% 1000 = 3 then %(now)s end, case when n %% 1000 = 3 then 'someone' end, case when n %% 1000 = 3 then 'seen' end
from generate_series(1, %(rows)s / 20) as n;

-- excess --
insert into excess_deliveries (webhook_event_id, deliveries, first_at, last_at, announced_at)
select n * 20, 3, %(now)s, %(now)s, case when n %% 1000 > 0 then %(now)s end from generate_series(1, %(rows)s / 20) as n;

-- order_keys --
insert into order_keys (holder, key, request, status, location, body, created_at)
select 'tests', 'key-' || n, 'x', 201, '/api/uploads/1', '{}', %(now)s - interval '30 days' * (1 - n / (%(rows)s / 20)::float)
from generate_series(1, %(rows)s / 20) as n;

-- ticks --
insert into ticks (periodic_task, tick_at, taken_at)
select 'report', %(now)s - interval '1 minute' * n, %(now)s from generate_series(1, %(rows)s / 20) as n;

-- dry_run --
insert into dry_run_rows (upload_id, iban_fingerprint, row_number, reference, amount_minor, verdict)
select 1 + n / 20000, decode(md5('debtor ' || n), 'hex'), n, 'INV-' || n, 100, 'clear'
from generate_series(1, %(rows)s / 10) as n;

-- report_fetches --
insert into report_fetches (account, list, day_on, wanted_at, due_at, read_at, listed, held)
select a.account, l.list, %(now)s::date - n, %(now)s, case when n = 1 then %(now)s end, %(now)s, 10, 10
from generate_series(1, 800) as n
cross join (values ('default'), ('second')) a (account)
cross join (values ('transactions'), ('chargebacks'), ('imports')) l (list);

-- unmatched --
insert into fingerprint_rekeying_unmatched (rekeying_id, blacklist_id)
select 1, n from generate_series(1, 20) as n;

-- rekeyings --
insert into fingerprint_rekeyings (check_after, ordered_by, reason, started_at, finished_at)
values ('x', 'someone', 'rotation', %(now)s, %(now)s);

-- epochs --
insert into database_epochs (
    number, token, installation, reason, pulse, pulse_at, began_at, lost_since_at, attempts_to, orders_to, debtors_to,
    attempts_reviewed_to, orders_reviewed_to, submissions
)
values (1, 'fill', 'fill', 'other timeline', 1, %(now)s, %(now)s, %(now)s, %(rows)s, %(rows)s, %(rows)s, 0, 0, 0);

-- reviews --
insert into reconciliation_reviews (name, position, updated_at) values ('outbox', 10, %(now)s);

-- staged --
-- A chunk of rows for screening, half of them of accounts that are known.
insert into staged_debtors (iban_fingerprint, row_number, amount_minor, reference, name)
select decode(md5('debtor ' || n * 173), 'hex'), n, 100, 'INV-' || n, 'Anna'
from generate_series(1, 1000) as n
order by 1;

-- tidied --
-- As autovacuum leaves it.
vacuum (analyze) {table};

-- large --
-- The tables that are large, with what keeps their rows. One row each: name, rows.
select relname::text, reltuples::bigint
from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r' and reltuples >= %(rows_min)s;

-- counted --
-- Count the rows that were written past the triggers.
with forgotten as (
    delete from billing_attempt_count_changes
),
forgotten_words as (
    delete from row_count_changes
),
attempts as (
    select
        coalesce(run_id, 0) as run_id, account, (created_at at time zone 'UTC')::date as created_on, state,
        attempt_step(payment_stage, dispute_stage, leased_until, submit_at) as step, canary,
        payment_stage >= 60 or dispute_stage > 0 as is_collected, dispute_stage in (1, 3) as is_charged_back,
        case when payment_stage >= 60 or dispute_stage > 0 then coalesce(reason_code, '') else '' end as reason_code,
        count(*) as count, sum(amount_minor)::bigint as amount_minor
    from billing_attempts
    group by 1, 2, 3, 4, 5, 6, 7, 8, 9
),
counted as (
    insert into billing_attempt_counts (
        run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
    )
    select
        run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
    from attempts
)
insert into row_counts (subject, word, count, amount)
select 'billing_attempts', state, sum(count), sum(amount_minor) from attempts group by state
union all
select 'refunds', state, count(*), sum(amount_minor) from refunds group by state
union all
select 'webhook_events', 'processed', count(*), 0 from webhook_events where state = 'processed' having count(*) > 0
union all
select 'excess_deliveries', '', count(*), sum(deliveries) from excess_deliveries having count(*) > 0;

-- summed --
-- Sum up the money of the attempts, at forty banks, past the triggers.
insert into figures (
    kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
    amount_minor
)
select
    moved.kind, (a.created_at at time zone 'UTC')::date, (a.created_at at time zone 'UTC')::date,
    (coalesce(a.submitted_at, a.created_at) at time zone 'Europe/Berlin')::date, a.currency, a.account, coalesce(a.run_id, 0), 'DE',
    'BANK' || a.id % 40, case when moved.kind = 'returned' then coalesce(a.reason_code, '') else '' end, price_band(a.amount_minor),
    count(*), sum(a.amount_minor)
from billing_attempts a
cross join lateral (
    values ('collected', true), ('returned', a.dispute_stage in (1, 3)), ('refunded', a.payment_stage in (70, 80))
) moved (kind, happened)
where (a.payment_stage >= 60 or a.dispute_stage > 0) and moved.happened
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;

-- audit --
insert into audit (acted_at, actor_kind, actor_id, actor, action, subject, subject_id, after)
select %(now)s - interval '1 year' * (1 - n / (%(rows)s / 4)::float), 'user', n %% 20, 'operator ' || n %% 20,
    case when n %% 1000 = 0 then 'blacklist.lifted' else 'refund.ordered' end,
    case when n %% 1000 = 0 then 'blacklist_entry' else 'attempt' end, n::text, '{}'
from generate_series(1, %(rows)s / 4) as n;
