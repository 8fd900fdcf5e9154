-- fingerprint_key: which key the fingerprints of this database are made with, and how they are made anew with another.
--
-- The one row of `fingerprint_key` is written by the first transaction that uses fingerprints. A transaction that uses them holds it in
-- share mode until the transaction ends; a rekeying needs it alone to begin, and leaves an empty check value there, which no
-- key fits. So once a rekeying has begun, no row is made or judged by an old fingerprint, on no node.
--
-- A rekeying walks all debtors in the order of their ids, a batch a transaction: it computes each fingerprint anew from the
-- account beside it, changes the attempts of these debtors, and the blacklist entries that had the old fingerprint. Attempts
-- are locked in the order of their ids before entries are changed, as in the processing of notifications. An entry whose
-- account no debtor has keeps its old fingerprint and is listed in `fingerprint_rekeying_unmatched`.

-- recorded --
-- The check value. 0 or 1 row.
select check_value from fingerprint_key;

-- share --
-- The check value, held so that no rekeying begins until this transaction ends. 0 or 1 row.
select check_value from fingerprint_key for share;

-- hold --
-- The check value, once no transaction uses fingerprints any more. 0 or 1 row.
select check_value from fingerprint_key for update;

-- record --
-- Record the check value where there is none.
insert into fingerprint_key (check_value, recorded_at) values (%(check_value)s, %(now)s) on conflict do nothing;

-- replace --
-- Record another check value. With %(if_unused)s only where there is no fingerprint yet. Returns it, or no row.
update fingerprint_key
set check_value = %(check_value)s, recorded_at = %(now)s
where
    not %(if_unused)s
    or (
        not exists (select from debtors)
        and not exists (select from dry_run_rows)
        and not exists (select from blacklist where iban_fingerprint is not null)
    )
returning check_value;

-- is_unused --
-- Whether there is no fingerprint yet. One row.
select
    not exists (select from debtors)
    and not exists (select from dry_run_rows)
    and not exists (select from blacklist where iban_fingerprint is not null);

-- samples --
-- Account and fingerprint of the oldest and the newest debtor that is not erased. 0 to 2 rows.
(select iban, iban_fingerprint from debtors where erased_at is null order by id limit 1)
union all
(select iban, iban_fingerprint from debtors where erased_at is null order by id desc limit 1);

-- open --
-- The rekeying under way, held. 0 or 1 row: id, check_after, debtor_position, debtors, attempts, entries.
select id, check_after, debtor_position, debtors, attempts, entries
from fingerprint_rekeyings
where finished_at is null and superseded_at is null
for update;

-- supersede --
-- End a rekeying in favour of one to another key.
update fingerprint_rekeyings set superseded_at = %(now)s where id = %(id)s;

-- begin --
-- Make a rekeying. Returns its id.
insert into fingerprint_rekeyings (check_before, check_after, ordered_by, reason, started_at)
values (%(check_before)s, %(check_after)s, %(ordered_by)s, %(reason)s, %(now)s)
returning id;

-- restart_dry_runs --
-- Let dry runs that are being read begin anew: what they remember of their rows is by old fingerprints, without the accounts.
with reset as (
    update uploads
    set
        position = null, rows_read = 0, stored = 0, excluded = 0, refused = 0, skipped = 0, warnings = 0, amount_minor = 0,
        verdict_counts = '{}', problem_counts = '{}', kept_problems = '{}', notes = '[]', bytes_read = 0, lease = null, due_at = %(now)s
    where dry_run and state = 'reading'
    returning id
),
forgotten as (
    delete from dry_run_rows where upload_id in (select id from reset)
)
delete from problems where upload_id in (select id from reset);

-- debtors_after --
-- The next debtors. Up to %(limit)s rows: id, iban, iban_fingerprint; the fingerprint of one that was erased cannot be made anew.
select id, iban, iban_fingerprint from debtors where id > %(after)s order by id limit %(limit)s;

-- former_accounts --
-- The former accounts of the next debtors, up to the debtor %(to)s: what people have edited. 0 to n rows: debtor_id, iban_before,
-- iban_fingerprint_before.
select debtor_id, iban_before, iban_fingerprint_before
from debtor_edits
where debtor_id > %(after)s and debtor_id <= %(to)s and iban_before <> ''
order by debtor_id, version;

-- rekey_former_accounts --
-- Arrays of length n: debtors, old and new fingerprints.
update debtor_edits e
set iban_fingerprint_before = given.after
from unnest(%(ids)b::bigint[], %(befores)b::bytea[], %(fingerprints)b::bytea[]) as given (debtor_id, before, after)
where e.debtor_id = given.debtor_id and e.iban_fingerprint_before = given.before;

-- lock_attempts --
-- Lock the attempts of n debtors, in the order of their ids.
select id from billing_attempts where debtor_id = any(%(ids)b::bigint[]) order by id for update;

-- rekey_debtors --
-- Arrays of length n: ids and new fingerprints.
update debtors d
set iban_fingerprint = given.fingerprint
from unnest(%(ids)b::bigint[], %(fingerprints)b::bytea[]) as given (id, fingerprint)
where d.id = given.id;

-- rekey_attempts --
-- Arrays of length n: debtors, old and new fingerprints. Returns how many attempts changed.
with changed as (
    update billing_attempts a
    set iban_fingerprint = given.after
    from unnest(%(ids)b::bigint[], %(befores)b::bytea[], %(fingerprints)b::bytea[]) as given (debtor_id, before, after)
    where a.debtor_id = given.debtor_id and a.iban_fingerprint = given.before
    returning 1
)
select count(*) from changed;

-- entries_of --
-- Lock the blacklist entries with n old fingerprints. 0 to n rows: id, iban_fingerprint, reason_code, whether it is active.
select id, iban_fingerprint, reason_code, lifted_at is null
from blacklist
where iban_fingerprint = any(%(befores)b::bytea[])
order by id
for update;

-- merge_entry --
-- Let an active entry about the same account for the same reason hold for another one as well: the stricter action, the
-- later end. Returns its id, or no row when there is none.
update blacklist b
set
    action = case when given.action = 'block' then 'block' else b.action end,
    expires_at = case when given.expires_at is null or b.expires_at is null then null else greatest(given.expires_at, b.expires_at) end
from blacklist given
where
    given.id = %(id)s and b.iban_fingerprint = %(fingerprint)s and b.reason_code = given.reason_code and b.lifted_at is null
    and b.id <> given.id
returning b.id;

-- end_merged --
-- End an entry that another one holds for, and let that one be about its disputes.
with linked as (
    insert into blacklist_disputes (blacklist_id, attempt_id, dispute_stage, dispute_id)
    select %(into)s, attempt_id, dispute_stage, dispute_id from blacklist_disputes where blacklist_id = %(id)s
    on conflict do nothing
)
update blacklist
set
    iban_fingerprint = %(fingerprint)s, lifted_at = %(now)s, lifted_by = 'tether', lifted_reason = 'merged'
where id = %(id)s;

-- rekey_entries --
-- Arrays of length n: ids and new fingerprints.
update blacklist b
set iban_fingerprint = given.fingerprint
from unnest(%(ids)b::bigint[], %(fingerprints)b::bytea[]) as given (id, fingerprint)
where b.id = given.id;

-- advance --
-- Note how far a rekeying has come.
update fingerprint_rekeyings
set
    debtor_position = %(position)s, debtors = debtors + %(debtors)s, attempts = attempts + %(attempts)s,
    entries = entries + %(entries)s
where id = %(id)s;

-- finish --
-- End a rekeying and list the active entries about accounts that no debtor has. Returns how many these are.
with unmatched as (
    insert into fingerprint_rekeying_unmatched (rekeying_id, blacklist_id)
    select %(id)s, b.id
    from blacklist b
    where
        b.iban_fingerprint is not null and b.lifted_at is null
        and not exists (select from debtors d where d.iban_fingerprint = b.iban_fingerprint and d.erased_at is null)
        and not exists (
            select from debtor_edits e where e.iban_fingerprint_before = b.iban_fingerprint and e.iban_before <> ''
        )
    on conflict do nothing
    returning 1
),
finished as (
    update fingerprint_rekeyings set finished_at = %(now)s where id = %(id)s
)
select count(*) from unmatched;

-- unmatched --
-- Active entries that no rekeying could change: what they are about is not protected until a person makes them again. Up
-- to %(limit)s rows: id, iban_masked, action, reason_code, source, created_at.
select b.id, b.iban_masked, b.action, b.reason_code, b.source, b.created_at
from blacklist b
where
    b.lifted_at is null
    and exists (select from fingerprint_rekeying_unmatched u where u.blacklist_id = b.id)
    and not exists (select from debtors d where d.iban_fingerprint = b.iban_fingerprint and d.erased_at is null)
order by b.id
limit %(limit)s;

-- rekeyings --
-- All rekeyings, newest first: id, ordered_by, because, started_at, finished_at, superseded_at, debtors, attempts, entries, and
-- how many entries it could not change.
select
    r.id, r.ordered_by, r.reason, r.started_at, r.finished_at, r.superseded_at, r.debtors, r.attempts, r.entries,
    (select count(*) from fingerprint_rekeying_unmatched u where u.rekeying_id = r.id) as unmatched
from fingerprint_rekeyings r
order by r.id desc
limit %(limit)s;
