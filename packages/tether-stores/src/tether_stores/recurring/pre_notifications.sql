-- pre_notifications: announcements of debits to debtors (tether_core.recurring.pre_notification).
--
-- A row is made with its text. An adapter gives rows in batches: the name of the batch is committed before anything is written, so that after a
-- crash the same rows are written to the same place again. What is given stays as proof.

-- {notice_columns} --
-- The columns of a pre-notification `n`.
n.id, n.account, n.upload_id, n.debtor_id, n.due_item, n.due_item_id, n.due_on, n.give_on, n.notice_days, n.amount_minor, n.currency,
n.text, n.state, n.batch, n.given_at, n.given_by, n.created_at, n.updated_at

-- {is_of_former_account} --
-- Whether the account of the debtor was changed since the pre-notification `p`, which names the account, was made.
exists (
    select from debtor_edits e
    where e.debtor_id = p.debtor_id and e.iban_fingerprint_before is not null and e.edited_at > p.created_at
)

-- add --
-- Add pre-notifications that are to be given. Arrays of length n. Returns id, debtor_id, due_item, due_on of those added.
insert into pre_notifications (
    account, upload_id, debtor_id, due_item, due_item_id, due_on, give_on, notice_days, amount_minor, currency, text, state, created_at,
    updated_at
)
select
    given.account, given.upload_id, given.debtor_id, given.due_item, given.due_item_id, given.due_on, given.give_on, given.notice_days,
    given.amount_minor, given.currency, given.text, 'made', %(now)s, %(now)s
from unnest(
    %(accounts)s::text[], %(upload_ids)s::bigint[], %(debtor_ids)s::bigint[], %(due_items)s::text[], %(due_item_ids)s::bigint[],
    %(due_ons)s::date[], %(give_ons)s::date[], %(notice_days)s::smallint[], %(amounts_minor)s::bigint[], %(currencies)s::text[],
    %(texts)s::text[]
) as given (
    account, upload_id, debtor_id, due_item, due_item_id, due_on, give_on, notice_days, amount_minor, currency, text
)
order by given.debtor_id, given.due_item
on conflict do nothing
returning id, debtor_id, due_item, due_on;

-- claim --
-- Give a batch its name: up to %(limit)s pre-notifications that no batch has. Returns how many.
with taken as (
    select id
    from pre_notifications
    where state = 'made' and batch is null
    order by give_on, id
    limit %(limit)s
    for update skip locked
),
named as (
    update pre_notifications n
    set batch = %(batch)s, updated_at = %(now)s
    from taken
    where n.id = taken.id
    returning 1
)
select count(*) from named;

-- batches --
-- The batches that are not given yet. Up to %(limit)s rows: batch.
select distinct batch from pre_notifications where state = 'made' and batch is not null order by 1 limit %(limit)s;

-- of_batch --
-- What a batch gives, with what an adapter needs of the debtors. In the order of their ids.
select {notice_columns}, d.name, d.email, d.phone, d.iban
from pre_notifications n
join debtors d on d.id = n.debtor_id
where n.batch = %(batch)s and n.state = 'made'
order by n.id;

-- give --
-- Mark pre-notifications as given, and let their due items be collected once their days have passed. Returns id, debtor_id, due_item, due_on.
with given as (
    update pre_notifications
    set state = 'given', given_at = %(now)s, given_by = %(given_by)s, updated_at = %(now)s
    where state = 'made' and id = any(%(ids)s::bigint[])
    returning id, debtor_id, due_item, due_on, due_item_id, notice_days
)
select id, debtor_id, due_item, due_on, due_item_id, notice_days from given order by id;

-- collect_from --
-- Let due items that wait for a pre-notification be collected from a day on. Arrays of length n.
update due_items i
set collect_from_on = given.collect_on, collect_on = given.collect_on, updated_at = %(now)s
from unnest(%(ids)s::bigint[], %(collect_ons)s::date[]) as given (id, collect_on)
where i.id = given.id and i.state = 'waiting' and i.collect_from_on is null;

-- withdraw --
-- Withdraw the pre-notifications of due items that are not collected. Returns id, debtor_id, due_item, due_on.
update pre_notifications
set state = 'withdrawn', updated_at = %(now)s
where state = 'made' and due_item_id = any(%(due_item_ids)s::bigint[])
returning id, debtor_id, due_item, due_on;

-- supersede --
-- Withdraw pre-notifications of n debtors for a due item of an upload that no batch has, where they state another day, amount or account than they are to
-- be told now. Arrays of length n. Returns id, debtor_id, due_item, due_on.
update pre_notifications p
set state = 'withdrawn', updated_at = %(now)s
from unnest(%(debtor_ids)s::bigint[], %(amounts_minor)s::bigint[]) as given (debtor_id, amount_minor)
where
    p.debtor_id = given.debtor_id and p.due_item = %(due_item)s and p.due_item_id is null and p.state = 'made' and p.batch is null
    and (p.due_on <> %(due_on)s or p.amount_minor <> given.amount_minor or {is_of_former_account})
returning p.id, p.debtor_id, p.due_item, p.due_on;

-- withdraw_of_upload --
-- Withdraw the pre-notifications of an upload that are not given. Returns id, debtor_id, due_item, due_on.
update pre_notifications
set state = 'withdrawn', updated_at = %(now)s
where state = 'made' and upload_id = %(upload_id)s
returning id, debtor_id, due_item, due_on;

-- listed --
-- Pre-notifications that are to be given, or were, in the order of their ids, after one. Filters that are null do not apply. Up to %(limit)s rows.
select {notice_columns}, d.name, d.email, d.phone, d.iban
from pre_notifications n
join debtors d on d.id = n.debtor_id
where
    n.id > %(after)s and (%(state)s::text is null or n.state = %(state)s)
    and (%(upload_id)s::bigint is null or n.upload_id = %(upload_id)s)
    and (%(give_until_on)s::date is null or n.give_on <= %(give_until_on)s)
order by n.id
limit %(limit)s;

-- of_debtor --
-- The pre-notifications of a debtor, newest first.
select {notice_columns}, d.name, d.email, d.phone, d.iban
from pre_notifications n
join debtors d on d.id = n.debtor_id
where n.debtor_id = %(debtor_id)s
order by n.id desc
limit %(limit)s;

-- given_on --
-- When the debtors of n were notified of a due item and their present account. Returns debtor_id, given_at, due_on, amount_minor; the latest last.
select p.debtor_id, p.given_at, p.due_on, p.amount_minor
from pre_notifications p
where
    p.debtor_id = any(%(debtor_ids)s::bigint[]) and p.due_item = %(due_item)s and p.state = 'given' and not {is_of_former_account}
order by p.given_at, p.due_on;
