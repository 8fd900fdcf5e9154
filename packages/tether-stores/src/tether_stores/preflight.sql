-- preflight_reports: pre-flight reports of uploads, as they were signed. A row is never changed; the file of an upload may be gone, the report stays.

-- {history} --
-- What is known of an account from some of its attempts.
case
    when bool_or(h.dispute_stage in (1, 3)) then 'returned'
    when bool_or(h.collected_on is not null) then 'paid'
    else 'new'
end

-- upload --
-- An upload with what a report names. 0 or 1 row.
select state, dry_run, encode(sha256, 'hex') as sha256 from uploads where id = %(upload_id)s;

-- groups --
-- The debtors of an upload that its screening left, by currency, bank, country, price band, history of the account, and what may exclude them:
-- the strictest blacklist entry of the account; the BIC of the file where %(by_bic)s; the last check where %(by_check)s. One row per group.
select
    d.currency, coalesce(d.bank_bic, '') as bank, left(d.iban, 2) as country, price_band(d.amount_minor) as price_band,
    account.history, entry.listed, case when %(by_bic)s then d.bic end as bic,
    checked.score, checked.answered, checked.result,
    count(*) as count, sum(d.amount_minor)::bigint as amount_minor, sum(d.amount_minor::numeric * d.amount_minor) as squares
from debtors d
cross join lateral (
    select {history} as history from billing_attempts h where h.iban_fingerprint = d.iban_fingerprint
) account
cross join lateral (
    select min(b.action) as listed  -- "block" comes before "hold"
    from blacklist b
    where
        b.iban_fingerprint = d.iban_fingerprint and b.lifted_at is null
        and (b.expires_at is null or b.expires_at > %(now)s)
) entry
left join vop_checks checked on %(by_check)s and checked.debtor_id = d.id and checked.state = 'checked'
where d.upload_id = %(upload_id)s and (d.verdict = 'clear' or d.taken_at is not null)
group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10;

-- seen --
-- The last debits of a gateway account that were made in a range of times and are final, by bank, country, price band and history of the
-- account before each; at most %(limit)s debits. One row per group.
select
    coalesce(a.bank_bic, d.bank_bic, '') as bank, left(a.iban_masked, 2) as country, price_band(a.amount_minor) as price_band,
    earlier.history, count(*) as count, count(*) filter (where a.dispute_stage in (1, 3)) as returned,
    count(*) filter (where a.state in ('declined', 'error')) as failed
from (
    select id, debtor_id, bank_bic, iban_masked, iban_fingerprint, amount_minor, dispute_stage, state, created_at
    from billing_attempts
    where
        account = %(account)s and created_at >= %(from_at)s and created_at < %(to_at)s
        and state in ('approved', 'declined', 'error', 'refunded', 'chargebacked')
    order by id desc
    limit %(limit)s
) a
join debtors d on d.id = a.debtor_id
cross join lateral (
    select
        case
            when bool_or(h.returned_on < (a.created_at at time zone 'UTC')::date) then 'returned'
            when bool_or(h.collected_on < (a.created_at at time zone 'UTC')::date) then 'paid'
            else 'new'
        end as history
    from billing_attempts h
    where h.iban_fingerprint = a.iban_fingerprint
) earlier
group by 1, 2, 3, 4;

-- add --
-- Store a report. Returns its id.
insert into preflight_reports (upload_id, account, verdict, content, signature, made_by, made_at)
values (%(upload_id)s, %(account)s, %(verdict)s, %(content)b, %(signature)s, %(made_by)s, %(now)s)
returning id;

-- by_id --
-- A report. 0 or 1 row.
select id, content, signature from preflight_reports where id = %(id)s;

-- last_of_upload --
-- The last report of an upload, with one of n gateway accounts where %(accounts)s is not null. 0 or 1 row.
select id, content, signature from preflight_reports
where upload_id = %(upload_id)s and (%(accounts)s::text[] is null or account = any(%(accounts)s))
order by id desc
limit 1;

-- with_content --
-- Whether a report of an upload has exactly these bytes. One row.
select exists (select from preflight_reports where upload_id = %(upload_id)s and content = %(content)b);
