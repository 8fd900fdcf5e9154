-- erasures: what a worker erases (tether_core.erasures); the orders are in erasures/orders.sql.
--
-- The uploads are locked first, in the order of their ids, as orders and edits do, then the debtors. A planner that judged a debtor before inserts
-- no debit after (payments/submissions.sql, add). Bodies of notifications are written last: a worker that applies one holds its row.

-- open --
-- Orders that are neither finished nor refused, the oldest first. Up to %(limit)s rows: id.
select id from erasures where finished_at is null and refused_at is null order by id limit %(limit)s;

-- hold --
-- An open order, locked; skipped where another worker has it. 0 or 1 row.
select
    id, debtor_ids, stored_ats, reason, ordered_by, accepts_reversible, created_at, object_key, erased_at
from erasures
where id = %(id)s and finished_at is null and refused_at is null
for update skip locked;

-- list_entry --
-- Store the place of an order in the list of erasures.
update erasures set object_key = %(object_key)s where id = %(id)s and object_key is null;

-- erased --
-- Note that the rows were erased.
update erasures set erased_at = %(now)s where id = %(id)s and erased_at is null;

-- finished --
-- Note that nothing is left to erase.
update erasures set finished_at = %(now)s where id = %(id)s;

-- refused --
-- Note why nothing was erased.
update erasures set refused_at = %(now)s, refused_reason = %(reason)s where id = %(id)s;

-- listed_keys --
-- Which of some entries of the list of erasures have an order. 0 to n rows: object_key.
select object_key from erasures where object_key = any(%(object_keys)s::text[]);

-- stored_at_these_times --
-- Those of some debtors that were stored at the given times: after a restore an id may be another debtor's. 0 to n rows: id.
select d.id
from unnest(%(debtor_ids)s::bigint[], %(stored_ats)s::timestamptz[]) as given (id, stored_at)
join debtors d on d.id = given.id and d.created_at = given.stored_at
order by d.id;

-- hold_uploads --
-- Lock the uploads of some debtors, in the order of their ids. 0 to n rows: id.
select u.id
from uploads u
where u.id in (select d.upload_id from debtors d where d.id = any(%(debtor_ids)s::bigint[]))
order by u.id
for no key update;

-- hold_debtors --
-- Lock debtors that are not erased, and read what their rows are found by elsewhere. 0 to n rows, in the order of their ids.
select d.id, d.upload_id, d.iban, d.iban_fingerprint, d.name, d.email
from debtors d
where d.id = any(%(debtor_ids)s::bigint[]) and d.erased_at is null
order by d.id
for update;

-- former_accounts --
-- The accounts that some debtors had before an edit. 0 to n rows: iban, fingerprint.
select iban_before as iban, iban_fingerprint_before as fingerprint
from debtor_edits
where debtor_id = any(%(debtor_ids)s::bigint[]) and iban_fingerprint_before is not null;

-- {attempts} --
-- The debits of some debtors. As an array, so that each table is looked up by its index.
select a.id from billing_attempts a where a.debtor_id = any(%(debtor_ids)s::bigint[]) order by a.id

-- erase_debtors --
-- Erase the columns of debtors. The fingerprint stays where the account was debited or is on the blacklist; else it is one that no account has.
update debtors d
set
    iban = '', name = '', first_name = null, last_name = null, bic = null, mandate_id = null, mandate_signed_on = null, reference = null,
    customer_id = null, email = null, phone = null, street = null, house_number = null, postcode = null, city = null, province = null,
    country = null, description = null, born_on = null, national_id = null, extra = null, reasons = null,
    cause = case when d.verdict = 'clear' then null else 'The debtor was erased.' end,
    iban_fingerprint = case
        when
            exists (select from billing_attempts a where a.debtor_id = d.id)
            or exists (select from blacklist b where b.iban_fingerprint = d.iban_fingerprint)
            then d.iban_fingerprint
        else decode(md5('erased debtor ' || d.id::text), 'hex')
    end,
    erased_at = %(now)s
where d.id = any(%(debtor_ids)s::bigint[]) and d.erased_at is null;

-- erase_edits --
-- Erase the values of edits; which fields were edited, when and by whom stays. The fingerprint of a former account stays like that of a debtor.
update debtor_edits e
set
    changes = coalesce(
        (
            select json_agg(json_build_object('field', change ->> 'field', 'before', '', 'after', ''))
            from json_array_elements(e.changes) change
        ),
        '[]'
    ),
    reason = 'erased',
    iban_before = case when kept.is_needed then '' end,
    iban_fingerprint_before = case when kept.is_needed then e.iban_fingerprint_before end
from (
    select
        x.id,
        exists (select from billing_attempts a where a.iban_fingerprint = x.iban_fingerprint_before)
        or exists (select from blacklist b where b.iban_fingerprint = x.iban_fingerprint_before) as is_needed
    from debtor_edits x
    where x.debtor_id = any(%(debtor_ids)s::bigint[])
) kept
where e.id = kept.id;

-- erase_previews --
-- Remove the first rows of the files that have some debtors.
update uploads u
set preview = null
where u.id = any(%(upload_ids)s::bigint[]) and u.preview is not null;

-- erase_problems --
-- Delete the problems of the rows of some debtors; refused rows of any file with one of their accounts, blanks aside, or addresses; and refused
-- rows of their own files with their name, which in other files may be somebody else's.
delete from problems p
where
    (p.upload_id, p.row_number) in (select d.upload_id, d.row_number from debtors d where d.id = any(%(debtor_ids)s::bigint[]))
    or exists (
        select from unnest(%(patterns)s::text[]) as given (pattern)
        where replace(lower(p.cells::text), ' ', '') like given.pattern escape '#'
    )
    or (
        p.upload_id = any(%(upload_ids)s::bigint[])
        and exists (
            select from unnest(%(name_patterns)s::text[]) as given (pattern) where lower(p.cells::text) like given.pattern escape '#'
        )
    );

-- erase_checks --
-- Delete the checks of some debtors.
delete from vop_checks where debtor_id = any(%(debtor_ids)s::bigint[]);

-- erase_check_file_rows --
-- Delete the rows of check files with the accounts of some debtors; before these are erased.
delete from check_file_rows r using debtors d where d.id = any(%(debtor_ids)s::bigint[]) and d.iban <> '' and r.iban = d.iban;

-- erase_dry_run_rows --
-- Delete the rows of dry runs with some accounts.
delete from dry_run_rows where iban_fingerprint = any(%(fingerprints)s::bytea[]);

-- erase_mandates --
-- Erase the references of the mandates of some debtors, which have ended.
update mandates
set reference = '', reference_key = '', updated_at = %(now)s
where debtor_id = any(%(debtor_ids)s::bigint[]);

-- erase_pre_notifications --
-- Erase the texts of pre-notifications.
update pre_notifications set text = '', updated_at = %(now)s where debtor_id = any(%(debtor_ids)s::bigint[]);

-- withdraw_pre_notifications --
-- Withdraw the pre-notifications of some debtors that were not given.
update pre_notifications
set state = 'withdrawn', updated_at = %(now)s
where state = 'made' and debtor_id = any(%(debtor_ids)s::bigint[]);

-- erase_refunds --
-- Erase the texts for statements of refunds.
update refunds f set usage = '' where f.attempt_id = any(array({attempts}));

-- erase_notes --
-- Erase what people wrote in entries of the blacklist about some accounts, debits or e-mail addresses, and the names and addresses of entries
-- that were lifted.
update blacklist b
set
    note = '',
    lifted_reason = case when b.lifted_reason is not null then 'erased' end,
    name = case when b.lifted_at is not null and b.name is not null then '' else b.name end,
    name_key = case when b.lifted_at is not null and b.name_key is not null then '' else b.name_key end,
    email = case when b.lifted_at is not null and b.email is not null then '' else b.email end
where
    b.iban_fingerprint = any(%(fingerprints)s::bytea[])
    or b.email = any(%(emails)s::text[])
    or (b.name_key = any(%(name_keys)s::text[]) and b.lifted_at is not null);

-- erase_statements --
-- Erase what people wrote about outcomes of the debits of some debtors.
update stated_outcomes o set reason = 'erased' where o.attempt_id = any(array({attempts}));

-- erase_forgiveness --
-- Erase why disputes were forgiven.
update forgiven_disputes f set reason = 'erased' where f.attempt_id = any(array({attempts}));

-- erase_acknowledgements --
-- Erase what people wrote about differences.
update reconciliation_differences l
set acknowledged_reason = 'erased'
where l.attempt_id = any(array({attempts})) and l.acknowledged_reason is not null;

-- erase_inquiry_orders --
-- Erase why inquiries about the debits were ordered.
update inquiry_orders o set reason = 'erased' where o.scope = 'attempt' and o.subject_id = any(array({attempts}));

-- erase_quarantined --
-- Delete notifications in quarantine that name a debit of some debtors; nothing in them was verified.
delete from quarantined_notifications where attempt_id = any(array({attempts}));

-- gateway_ids --
-- The gateway's ids of the debits of some debtors and of their refunds, and the debits. One row: attempt_ids, notification_ids.
with own as materialized (
    select array({attempts}) as ids
)
select
    own.ids as attempt_ids,
    array(
        select a.unique_id from billing_attempts a where a.id = any(own.ids) and a.unique_id is not null
        union
        select f.unique_id from refunds f where f.attempt_id = any(own.ids) and f.unique_id is not null
        union
        select g.unique_id from gateway_refunds g where g.attempt_id = any(own.ids)
    ) as notification_ids
from own;

-- bodies --
-- Notifications with some ids of the gateway, in the order of their rows. 0 to n rows: id, content_type, body.
select id, content_type, body
from webhook_events
where notification_id = any(%(notification_ids)s::text[])
order by id;

-- write_bodies --
-- Write n bodies; only those that are still as they were read. Arrays of length n.
update webhook_events e
set body = given.after
from unnest(%(ids)s::bigint[], %(befores)s::bytea[], %(afters)s::bytea[]) as given (id, before, after)
where e.id = given.id and e.body = given.before;

-- files --
-- The uploads whose files hold some debtors, or the same bytes, and were not removed. 0 to n rows: id, object_key, is_over.
select u.id, u.object_key, u.state in ('completed', 'failed', 'withdrawn') as is_over
from uploads u
where
    u.file_removed_at is null
    and (
        u.id in (select d.upload_id from debtors d where d.id = any(%(debtor_ids)s::bigint[]))
        or u.sha256 in (
            select o.sha256
            from uploads o
            where o.id in (select d.upload_id from debtors d where d.id = any(%(debtor_ids)s::bigint[]))
        )
    )
order by u.id;

-- archives_of --
-- The archives that hold notifications of some debits. 0 to n rows: id, object_key, sha256.
select x.id, x.object_key, x.sha256
from archives x
where
    x.removed_at is null and x.confirmed_at is not null
    and x.id in (select k.archive_id from archived_notifications k where k.attempt_id = any(%(attempt_ids)s::bigint[]))
order by x.id;

-- replace_archive --
-- Let an archive have another object; the former one is kept in mind until it is deleted. Returns the id, or no row where it changed meanwhile.
update archives
set object_key = %(object_key)s, sha256 = %(sha256)s, size_bytes = %(size_bytes)s, former_key = object_key
where id = %(id)s and object_key = %(former_key)s and removed_at is null and former_key is null
returning id;

-- former_objects --
-- Archives whose former objects are not deleted yet. 0 to n rows: id, former_key.
select id, former_key from archives where former_key is not null order by id;

-- former_deleted --
-- Note that the former object of an archive was deleted.
update archives set former_key = null where id = %(id)s;

-- late_debtors --
-- The debtors of finished erasures, a page after an id. Up to %(limit)s rows: id, debtor_ids.
select id, debtor_ids from erasures where id > %(after)s and finished_at is not null order by id limit %(limit)s;
