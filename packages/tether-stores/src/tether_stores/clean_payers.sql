-- Clean payers: people whose debits were collected, of whom none was ever returned, and who were not debited for a while.

-- page --
-- The next %(limit)s debtors after a row, and whether each is a clean payer. Judged by account, over all uploads: of several debtors with one
-- account only the last one is, and only while nothing on the blacklist keeps the account out. Ordered by id.
with examined as (
    select id, iban, iban_fingerprint, name, first_name, last_name, bic, amount_minor, currency
    from debtors
    where id > %(after)s
    order by id
    limit %(limit)s
)
select
    e.id, e.iban, e.name, e.first_name, e.last_name, e.bic, e.amount_minor, e.currency, paid.debits, paid.last_on,
    (
        paid.debits >= %(debits_min)s and not paid.has_returned and not paid.is_recent
        -- One lookup by index for each, never a hash of the whole table.
        and not exists (
            select from debtors later where later.iban_fingerprint = e.iban_fingerprint and later.id > e.id offset 0
        )
        and not exists (
            select from blacklist b
            where
                b.iban_fingerprint = e.iban_fingerprint and b.lifted_at is null
                and (b.expires_at is null or b.expires_at > %(now)s)
            offset 0
        )
    ) as is_clean
from examined e
cross join lateral (
    select
        count(*) filter (
            where a.state = 'approved' and (%(account)s::text is null or a.account = %(account)s)
        ) as debits,
        max(a.collected_on) as last_on, coalesce(bool_or(a.dispute_stage > 0), false) as has_returned,
        coalesce(
            bool_or(a.state in ('pending', 'unknown') or coalesce(a.submitted_at, a.created_at) > %(before)s), false
        ) as is_recent
    from billing_attempts a
    where a.iban_fingerprint = e.iban_fingerprint
) paid
order by e.id;
