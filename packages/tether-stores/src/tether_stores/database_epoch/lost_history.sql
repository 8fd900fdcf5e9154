-- database_epochs: the rows that are older than the current epoch, and whose lost calls are to be inquired.
--
-- How epochs begin and end is described in database_epoch/watch.sql.

-- to_review --
-- The current epoch where older submissions are still to be reviewed, held for that. 0 or 1 row: number, began_at,
-- attempts_to, orders_to, attempts_reviewed_to, orders_reviewed_to.
select number, began_at, attempts_to, orders_to, attempts_reviewed_to, orders_reviewed_to
from database_epochs
where ended_at is null and reviewed_at is null
for no key update skip locked;

-- unfinished_attempts --
-- Up to %(limit)s debits of runs from %(after)s to %(to)s whose outcome is not known here. In the order of their ids.
select id
from billing_attempts
where
    id > %(after)s and id <= %(to)s and state in ('pending', 'unknown') and payment_stage <= 10 and dispute_stage = 0
    and run_id is not null
order by id
limit %(limit)s;

-- unfinished_orders --
-- Up to %(limit)s refunds and voids from %(after)s to %(to)s whose outcome is not known here. In the order of their ids.
select id
from refunds
where id > %(after)s and id <= %(to)s and state in ('pending', 'unknown') and payment_stage <= 10
order by id
limit %(limit)s;

-- reviewed --
-- Note how far older submissions were reviewed.
update database_epochs
set
    attempts_reviewed_to = %(attempts_reviewed_to)s, orders_reviewed_to = %(orders_reviewed_to)s,
    submissions = submissions + %(submissions)s, reviewed_at = %(reviewed_at)s
where number = %(number)s;

-- inquire_attempts_anew --
-- Have n debits inquired from the beginning of the schedule.
update billing_attempts set inquiry_count = 0, inquire_at = null where id = any(%(ids)s);

-- inquire_orders_anew --
-- Have n refunds and voids inquired from the beginning of the schedule.
update refunds set inquiry_count = 0, inquire_at = null where id = any(%(ids)s);

-- bounds --
-- The current epoch, held so that no other one begins before this transaction ends. 0 or 1 row: number, began_at,
-- attempts_to, debtors_to.
select number, began_at, attempts_to, debtors_to from database_epochs where ended_at is null for key share;

-- made_again --
-- Debits of a run, just made for debtors that a lost history may have debited under the same ids.
select id
from billing_attempts
where
    run_id = %(run_id)s and debtor_id = any(%(debtor_ids)s) and debtor_id <= %(debtors_to)s and submit_at is not null
    and submission_count = 0 and submitted_at is null
order by id;

-- latest_tries --
-- Of n debits those that are the latest known try at a due item of a debtor older than the current epoch. Returns id,
-- debtor_id, due_item, try_number, amount_minor, currency, iban_fingerprint.
select a.id, a.debtor_id, a.due_item, a.try_number as number, a.amount_minor, a.currency, a.iban_fingerprint
from billing_attempts a
join database_epochs e on e.ended_at is null
where
    a.id = any(%(ids)s) and a.debtor_id <= e.debtors_to and a.run_id is not null and a.due_item is not null
    and not exists (
        select from billing_attempts later
        where later.debtor_id = a.debtor_id and later.due_item = a.due_item and later.try_number > a.try_number
    )
order by a.id;

-- lists_to_want --
-- The current epoch where the gateway's lists of the lost days are still to be wanted, held for that. 0 or 1 row: number,
-- lost_since_at, began_at.
select number, lost_since_at as since, began_at as until
from database_epochs
where ended_at is null and lists_wanted_at is null
for no key update skip locked;

-- lists_wanted --
-- Note that these lists are wanted.
update database_epochs set lists_wanted_at = %(now)s where number = %(number)s;

-- current --
-- The current epoch for people. 0 or 1 row: number, reason, began_at, reviewed_at, submissions.
select number, reason, began_at, reviewed_at, submissions from database_epochs where ended_at is null;
