-- dossier: what is stored about some debtors, for one file (tether_core.dossier).

-- accounts --
-- The accounts of some debtors in clear, in the order of their ids: debtor_id, iban, former_ibans.
select
    d.id as debtor_id, d.iban,
    array(
        select e.iban_before from debtor_edits e where e.debtor_id = d.id and e.iban_before <> '' order by e.version
    ) as former_ibans
from debtors d
where d.id = any(%(debtor_ids)s::bigint[])
order by d.id;

-- checks --
-- The checks of some debtors' accounts, as `DossierCheck`.
select
    debtor_id, state, provider, score, answered, result, iban_answer, bank_answer, debit_answer, country_answer, name_answer,
    name_percent, bank_name, bic, requested_at, checked_at
from vop_checks
where debtor_id = any(%(debtor_ids)s::bigint[])
order by debtor_id;

-- mandates --
-- The mandates of some debtors, as `DossierMandate`.
select
    id, debtor_id, account, reference, kind, state, iban_masked, signed_on, last_used_on, uses, created_at, created_by, ended_at, ended_reason
from mandates
where debtor_id = any(%(debtor_ids)s::bigint[])
order by id;

-- schedules --
-- The schedules of some mandates, as `DossierSchedule`.
select
    s.id, s.debtor_id, s.mandate_id, p.name as collection_plan, s.amount_minor, s.first_due_on, s.last_due_on, s.state, s.state_reason, s.created_at
from collection_schedules s
join collection_plans p on p.id = s.collection_plan_id
where s.mandate_id = any(%(mandate_ids)s::bigint[])
order by s.id;

-- due_items --
-- The due items of some schedules, as `DossierDueItem`.
select
    i.schedule_id, i.due_item, i.due_on, i.amount_minor, i.state, i.reason, i.sequence, i.run_id, i.ordered_on
from due_items i
where i.schedule_id = any(%(schedule_ids)s::bigint[])
order by i.schedule_id, i.due_on;

-- pre_notifications --
-- The pre-notifications of some debtors, as `DossierNotice`.
select id, debtor_id, due_item, due_on, amount_minor, currency, text, state, given_at, given_by, created_at
from pre_notifications
where debtor_id = any(%(debtor_ids)s::bigint[])
order by id;

-- payments --
-- The debits of some debtors, as `DossierPayment`.
select
    a.id, a.debtor_id, a.account, a.transaction_id, a.unique_id, a.amount_minor, a.currency, a.state, a.error_code, a.reason_code, a.iban_masked,
    a.due_item, a.try_number, a.run_id, a.created_at, a.submitted_at, a.submission_count, a.not_submitted_reason, a.inquiry_count,
    a.collected_on, a.returned_on, a.refunded_on, a.return_handled_at, a.retry_on, a.retry_why, a.updated_at,
    (select i.imported_at from imported_attempts i where i.attempt_id = a.id) as imported_at
from billing_attempts a
where a.debtor_id = any(%(debtor_ids)s::bigint[])
order by a.id;

-- notifications --
-- The notifications of some ids of the gateway, as `_Stored`.
select
    e.id, e.notification_id, e.source, e.kind, e.status, e.event, e.state, e.outcome, e.confirmed_status, e.confirmed_at, e.received_at, e.handled_at,
    e.content_type, e.body
from webhook_events e
where e.notification_id = any(%(notification_ids)s::text[])
order by e.id;

-- archives --
-- The archives with notifications of some debits. 0 to n rows: id, object_key, sha256.
select x.id, x.object_key, x.sha256
from archives x
where
    x.removed_at is null and x.confirmed_at is not null
    and x.id in (select k.archive_id from archived_notifications k where k.attempt_id = any(%(attempt_ids)s::bigint[]))
order by x.id;

-- forgiven --
-- The chargebacks of some debits that a person has forgiven, as `DossierForgiven`.
select attempt_id, forgiven_at, reason
from forgiven_disputes
where attempt_id = any(%(attempt_ids)s::bigint[])
order by attempt_id, dispute_stage;

-- inquiries --
-- Status inquiries of some debits that people ordered, as `DossierInquiry`.
select a.attempt_id, o.created_at as ordered_at, o.reason, a.is_inquired
from inquiry_order_attempts a
join inquiry_orders o on o.id = a.order_id
where a.attempt_id = any(%(attempt_ids)s::bigint[])
order by a.order_id;

-- entries --
-- The blacklist entries about some accounts, addresses or names, as `DossierEntry`; what people wrote about a name may be about somebody else.
select
    b.id, b.iban_masked, b.name, b.email, b.action, b.scope, b.reason_code, case when b.name_key is null then b.note else '' end as note, b.source,
    b.attempt_id, b.created_at, b.expires_at, b.lifted_at, case when b.name_key is null then b.lifted_reason end as lifted_reason
from blacklist b
where
    b.iban_fingerprint = any(array(
        select d.iban_fingerprint from debtors d where d.id = any(%(debtor_ids)s::bigint[])
        union
        select e.iban_fingerprint_before from debtor_edits e where e.debtor_id = any(%(debtor_ids)s::bigint[])
    ))
    or b.name_key = any(%(name_keys)s::text[])
    or b.email = any(%(emails)s::text[])
order by b.id;
