-- Debtors of an upload whose accounts have charged back a debit, and a person's order to exclude them.
--
-- The upload is locked first, as orders and withdrawals do. A debtor with a debit that is open or collected stays: its money is counted with it.

-- {charged_back} --
-- The clear debtors of an upload with a chargeback that nobody has forgiven, and whether they have a debit that is open or collected.
select
    d.id, d.amount_minor, d.currency,
    exists (
        select from billing_attempts o where o.debtor_id = d.id and o.state in ('pending', 'unknown', 'approved')
    ) as has_debit
from debtors d
where
    d.upload_id = %(upload_id)s and d.verdict = 'clear'
    and exists (
        select from billing_attempts a
        left join forgiven_disputes f on f.attempt_id = a.id and f.dispute_stage = a.dispute_stage
        where a.iban_fingerprint = d.iban_fingerprint and a.state = 'chargebacked' and f.attempt_id is null
    )

-- counts --
-- How many there are. One row per currency and whether they have a debit: currency, has_debit, count, amount_minor.
with charged_back as ({charged_back})
select currency, has_debit, count(*) as count, sum(amount_minor)::bigint as amount_minor
from charged_back
group by currency, has_debit
order by currency, has_debit;

-- exclude --
-- Exclude those without such a debit, with their verdict, cause and reasons. One row per currency: currency, has_debit, count, amount_minor.
with charged_back as ({charged_back}),
excluded as (
    update debtors d
    set verdict = 'chargebacked_before', cause = %(cause)s, reasons = %(reasons)s::jsonb, taken_at = null
    from charged_back c
    where d.id = c.id and not c.has_debit
    returning d.currency, d.amount_minor
)
select currency, false as has_debit, count(*) as count, sum(amount_minor)::bigint as amount_minor
from excluded
group by currency
order by currency;
