-- What a storm asks about while it rages.

-- state_of --
-- The state of the attempt %(unique_id)s. One row.
select state from billing_attempts where unique_id = %(unique_id)s;

-- files --
-- What became of every file: the upload's id, its state, its object, its rows, and how many of them are a debtor or a problem.
select
    u.id, u.state, u.object_key, u.rows_read,
    (select count(distinct d.row_number) from debtors d where d.upload_id = u.id),
    (
        select count(distinct p.row_number) from problems p
        where p.upload_id = u.id and p.level = 'error'
        and not exists (select from debtors d where d.upload_id = u.id and d.row_number = p.row_number)
    ),
    (select count(*) from debtors d where d.upload_id = u.id)
from uploads u
order by u.id;
