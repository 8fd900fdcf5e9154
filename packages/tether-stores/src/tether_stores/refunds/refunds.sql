-- givebacks: orders to give a debit back, as refund or void (tether_core.refunds.refund).
--
-- They live like debits that are sent (sends.sql): a row may be sent while send_at is set, claiming it is committed before
-- the call, and a lost answer leaves it to be asked about. One order of a debit stands at a time; those that failed
-- stay. Whoever changes an order locks its debit as well, the debit first, since both may move together.

-- add --
-- Order a debit to be given back, unless an order about it stands. Returns id, or no row where one stands.
insert into givebacks (
    attempt_id, kind, number, account, transaction_id, amount_minor, currency, usage, state, payment_stage,
    ordered_by, created_at, updated_at, send_at
)
values (
    %(attempt_id)s, %(kind)s, %(number)s, %(account)s, %(transaction_id)s, %(amount_minor)s, %(currency)s, %(usage)s,
    'pending', 0, %(ordered_by)s, %(now)s, %(now)s, %(now)s
)
on conflict do nothing
returning id;

-- hold_debit --
-- A debit, held while an order about it is made. 0 or 1 row: the columns of an attempt, when it was sent, or made where it
-- was not yet, and the number of the next order.
select
    a.id, a.account, a.transaction_id, a.unique_id, a.amount_minor, a.currency, a.payment_stage, a.dispute_stage,
    a.error_code, a.reason_code, a.iban_fingerprint, a.iban_masked, coalesce(a.sent_at, a.created_at),
    (select coalesce(max(g.number), 0) + 1 from givebacks g where g.attempt_id = a.id)
from billing_attempts a
where a.id = %(attempt_id)s
for update of a;

-- of_attempt --
-- The orders about a debit, newest first.
select
    id, attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage, state, error_code,
    withheld, sends, ordered_by, created_at, updated_at
from givebacks
where attempt_id = %(attempt_id)s
order by number desc;

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows, the columns of `of_attempt`.
select
    id, attempt_id, kind, number, account, transaction_id, unique_id, amount_minor, currency, usage, state, error_code,
    withheld, sends, ordered_by, created_at, updated_at
from givebacks
where (%(before)s::bigint is null or id < %(before)s) and (%(state)s::text is null or state = %(state)s)
order by id desc
limit %(limit)s;

-- sendable --
-- The accounts that have an order to send now. One row per account.
select distinct account from givebacks where send_at <= %(now)s order by account;

-- lock_debits --
-- Lock the debits of n orders, before the orders. In the order of their ids, as everywhere.
select a.id
from billing_attempts a
where a.id in (select g.attempt_id from givebacks g where g.id = any(%(ids)s))
order by a.id
for update;

-- ready_ids --
-- Up to %(limit)s orders of an account that may be sent now, oldest first.
select id from givebacks where account = %(account)s and send_at <= %(now)s order by send_at, id limit %(limit)s;

-- lapsed_ids --
-- Up to %(limit)s orders whose lease is over, or ends later than any lease can: the clock was set back then.
select id from givebacks where leased_until <= %(now)s or leased_until > %(latest)s order by id limit %(limit)s;

-- named --
-- The orders that n notifications speak of: id, attempt_id. Each id is looked up by itself (the limit keeps the planner from
-- anything else): what a batch costs must not depend on how many orders there are.
select g.id, g.attempt_id
from unnest(%(unique_ids)s::text[]) as told (unique_id)
cross join lateral (select id, attempt_id from givebacks where unique_id = told.unique_id limit 1) g
union
select g.id, g.attempt_id
from unnest(%(transaction_ids)s::text[]) as told (transaction_id)
cross join lateral (select id, attempt_id from givebacks where transaction_id = told.transaction_id limit 1) g;

-- locked --
-- Lock n orders whose debits are locked. 0 to n rows, in the order of their ids: kind, usage, the debit as the core knows
-- it, when it was sent, then the order: id, account, transaction_id, unique_id, amount_minor, currency, payment_stage,
-- error_code, sends, send_at, leased_until, sent_at, submitted_to, not_found, sends_uncounted.
select
    g.kind, g.usage,
    a.id, a.account, a.transaction_id, a.unique_id, a.amount_minor, a.currency, a.payment_stage, a.dispute_stage,
    a.error_code, a.reason_code, a.iban_fingerprint, a.iban_masked, coalesce(a.sent_at, a.created_at),
    g.id, g.account, g.transaction_id, g.unique_id, g.amount_minor, g.currency, g.payment_stage, g.error_code,
    g.sends, g.send_at, g.leased_until, g.sent_at, g.submitted_to, g.not_found::text, g.sends_uncounted
from givebacks g
join billing_attempts a on a.id = g.attempt_id
where g.id = any(%(ids)s)
order by g.id
for update of g;

-- numbers --
-- The numbers of n orders about their debits. Returns id, number.
select id, number from givebacks where id = any(%(ids)s);

-- write --
-- Write n orders as they were decided. Arrays of length n. One that becomes unknown is asked about from the beginning.
update givebacks g
set
    unique_id = told.unique_id, state = told.state, payment_stage = told.payment_stage, error_code = told.error_code,
    sends = told.sends, send_at = told.send_at, leased_until = told.leased_until, sent_at = told.sent_at,
    withheld = case when told.sends > g.sends then null else coalesce(told.withheld, g.withheld) end,
    submitted_to = string_to_array(told.submitted_to, ' '), not_found = told.not_found::jsonb,
    unresolved_because = told.unresolved_because, sends_uncounted = told.sends_uncounted,
    asks = case when told.payment_stage <> g.payment_stage then 0 else g.asks end,
    ask_at = case when told.payment_stage <> g.payment_stage then null else g.ask_at end,
    updated_at = %(now)s
from unnest(
    %(ids)s::bigint[], %(unique_ids)s::text[], %(states)s::text[], %(payment_stages)s::smallint[],
    %(error_codes)s::text[], %(sends)s::smallint[], %(send_ats)s::timestamptz[], %(leased_untils)s::timestamptz[],
    %(sent_ats)s::timestamptz[], %(withhelds)s::text[], %(submitted_tos)s::text[], %(not_founds)s::text[],
    %(unresolved_becauses)s::text[], %(uncounteds)s::smallint[]
) as told (
    id, unique_id, state, payment_stage, error_code, sends, send_at, leased_until, sent_at, withheld, submitted_to,
    not_found, unresolved_because, sends_uncounted
)
where g.id = told.id;

-- claim_to_ask --
-- Take a lease on up to %(limit)s orders at some payment stages whose fate the gateway has to be asked for: never asked and
-- without news since %(silent_since)s, or due again. Oldest first. Returns id, account, transaction_id, unique_id,
-- payment_stage, asks, submitted_to.
with due as (
    select id
    from givebacks
    where
        payment_stage = any(%(payment_stages)s) and asks < %(asks_max)s and leased_until is null and send_at is null
        and ((ask_at is null and updated_at <= %(silent_since)s) or ask_at <= %(now)s)
    order by coalesce(ask_at, updated_at), id
    limit %(limit)s
    for update skip locked
)
update givebacks g
set ask_at = %(leased_until)s
from due
where g.id = due.id
returning g.id, g.account, g.transaction_id, g.unique_id, g.payment_stage, g.asks, g.submitted_to;

-- prolong --
-- Hold the lease on n orders for longer, where it still is ours.
update givebacks set ask_at = %(until)s where id = any(%(ids)s) and ask_at = %(leased_until)s;

-- askable --
-- Whether `claim_to_ask` would find any order. One row.
select exists (
    select from givebacks
    where
        payment_stage = any(%(payment_stages)s) and asks < %(asks_max)s and leased_until is null and send_at is null
        and ((ask_at is null and updated_at <= %(silent_since)s) or ask_at <= %(now)s)
);

-- asked --
-- Note when n orders are to be asked about again. Arrays of length n.
update givebacks g
set asks = told.asks, ask_at = told.ask_at
from unnest(%(ids)s::bigint[], %(asks)s::smallint[], %(ask_ats)s::timestamptz[]) as told (id, asks, ask_at)
where g.id = told.id;

-- tally --
-- Orders by state, by the counts that are kept (row_counts.sql). One row per state that occurs: state, count, sum of amounts.
select word, sum(count)::bigint, sum(amount)::bigint
from (
    select word, count, amount from row_counts where subject = 'givebacks'
    union all
    select word, count, amount from row_count_changes where subject = 'givebacks'
) counted
group by word
having sum(count) <> 0
order by word;
