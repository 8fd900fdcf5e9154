-- debtor_edits: what people changed of debtors, one row per edit.
--
-- An edit locks the upload first, as orders and withdrawals do, then the debtor. A planner that inserts an attempt holds the debtor in
-- key share mode until it commits, so an edit waits for it and finds the attempt; the other way round, the planner waits and inserts
-- only where account and amount are still those it judged (`payments/submissions.sql`, add). The debtor, the counts of its upload, its
-- check, the row here and the event are written in one transaction.

-- upload --
-- The upload of a debtor. 0 or 1 row: upload_id.
select upload_id from debtors where id = %(debtor_id)s;

-- {editable_columns} --
-- The fields of a debtor that can be edited.
d.iban, d.name, d.first_name, d.last_name, d.amount_minor, d.bic, d.mandate_id, d.mandate_signed_on, d.reference, d.customer_id,
d.email, d.phone, d.street, d.house_number, d.postcode, d.city, d.province, d.country, d.description

-- hold --
-- A debtor, locked against planners until this transaction ends. 0 or 1 row.
select {editable_columns}, d.row_number, d.iban_fingerprint, d.verdict, d.taken_at
from debtors d
where d.id = %(debtor_id)s
for update;

-- is_erased --
-- Whether the personal data of a debtor was erased. One row.
select exists (select from debtors where id = %(debtor_id)s and erased_at is not null);

-- version --
-- How often a debtor was edited. One row.
select coalesce(max(version), 0) from debtor_edits where debtor_id = %(debtor_id)s;

-- payments --
-- The debits of a debtor that keep it from being edited, or may: state, and the day of a retry that was not made yet. Up to
-- %(limit)s rows.
select
    a.id as attempt_id, a.state,
    case when a.retry_on is not null and not a.is_retried and a.dispute_stage in (1, 3) and r.state <> 'cancelled' then a.retry_on end
        as retry_on
from billing_attempts a
left join billing_runs r on r.id = a.run_id
where
    a.debtor_id = %(debtor_id)s
    and (a.state in ('pending', 'unknown', 'approved', 'refunded') or (a.retry_on is not null and not a.is_retried))
order by a.id
limit %(limit)s;

-- change --
-- Write the fields of a debtor and what screening says of them now.
update debtors d
set
    iban = %(iban)s, iban_fingerprint = %(iban_fingerprint)s, name = %(name)s, first_name = %(first_name)s, last_name = %(last_name)s,
    amount_minor = %(amount_minor)s, bic = %(bic)s, bank_bic = %(bank_bic)s, mandate_id = %(mandate_id)s, mandate_signed_on = %(mandate_signed_on)s,
    reference = %(reference)s, customer_id = %(customer_id)s, email = %(email)s, phone = %(phone)s, street = %(street)s,
    house_number = %(house_number)s, postcode = %(postcode)s, city = %(city)s, province = %(province)s, country = %(country)s,
    description = %(description)s, verdict = %(verdict)s, cause = %(cause)s, reasons = %(reasons)s::jsonb, taken_at = %(taken_at)s
where d.id = %(debtor_id)s;

-- add --
-- Keep an edit.
insert into debtor_edits (
    debtor_id, version, changes, reason, verdict_before, verdict_after, iban_before, iban_fingerprint_before, edited_by, edited_at
)
values (
    %(debtor_id)s, %(version)s, %(changes)s::json, %(reason)s, %(verdict_before)s, %(verdict_after)s, %(iban_before)s,
    %(iban_fingerprint_before)s, %(edited_by)s, %(now)s
);

-- listed --
-- The edits of a debtor, newest first. Up to %(limit)s rows.
select version, changes::text, reason, verdict_before, verdict_after, edited_by, edited_at
from debtor_edits
where debtor_id = %(debtor_id)s
order by version desc
limit %(limit)s;
