-- debtor_history: what the page of a debtor shows beside the debtor itself. The lists are in the files of their own subjects.

-- subject --
-- What the blacklist may list a debtor by. 0 or 1 row: name, email, bic, bank.
select d.name, d.email, d.bic, d.bank_bic as bank from debtors d where d.id = %(debtor_id)s;

-- debits --
-- The latest debits of a debtor. Up to %(limit)s rows: id, unique_id. Found by the debtor before they are sorted.
with found as materialized (
    select a.id, a.unique_id from billing_attempts a where a.debtor_id = %(debtor_id)s
)
select id, unique_id from found order by id desc limit %(limit)s;

-- belongings --
-- What belongs to a debtor and to some of its debits, as the audit names it. 0 to n rows: subject, id, and unique_id at the gateway or null.
select 'refund' as subject, r.id, r.unique_id
from refunds r
where r.attempt_id = any(%(attempt_ids)s::bigint[])
union all
select 'gateway_refund', g.attempt_id, g.unique_id
from gateway_refunds g
where g.attempt_id = any(%(attempt_ids)s::bigint[])
union all
select 'difference', l.id, null
from reconciliation_differences l
where l.attempt_id = any(%(attempt_ids)s::bigint[])
union all
select 'mandate', m.id, null
from mandates m
where m.debtor_id = %(debtor_id)s
union all
select 'schedule', s.id, null
from mandates m
join collection_schedules s on s.mandate_id = m.id
where m.debtor_id = %(debtor_id)s;
