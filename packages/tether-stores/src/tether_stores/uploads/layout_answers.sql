-- layout_answers: answers of people about rows, kept for later files of the same layout. A newer answer ends the one before.

-- remember --
-- Keep an answer for files of a layout, in place of the one that was kept.
with before as (
    update layout_answers
    set forgotten_at = %(now)s, forgotten_by = %(by)s
    where layout = %(layout)s and subject = %(subject)s and forgotten_at is null
    returning 1
)
insert into layout_answers (layout, subject, answer, days_min, upload_id, answered_by, answered_at)
select %(layout)s, %(subject)s, %(answer)s, %(days_min)s, %(upload_id)s, %(by)s, %(now)s
from (select count(*) from before) done;

-- remembered --
-- The answers kept for a layout. 0 to n rows.
select subject, answer, days_min, answered_by, answered_at
from layout_answers
where layout = %(layout)s and forgotten_at is null
order by id;

-- listed --
-- Kept answers for people, newest first. Up to %(limit)s rows.
select id, subject, answer, days_min, upload_id, answered_by, answered_at
from layout_answers
where forgotten_at is null
order by id desc
limit %(limit)s;

-- forget --
-- Keep an answer no longer. Returns the id, or no row when it was not kept.
update layout_answers
set forgotten_at = %(now)s, forgotten_by = %(by)s
where id = %(id)s and forgotten_at is null
returning id;
