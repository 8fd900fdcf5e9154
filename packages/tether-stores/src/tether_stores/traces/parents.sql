-- trace_parents: the trace of the request that made a row, while traces are on. It is written after or with the row, and read by the job that
-- works on the row. Nothing depends on it: a row without one begins a trace of its own.

-- remember --
-- Note the trace of n rows of one subject, given by id. The first one counts.
insert into trace_parents (subject, subject_id, traceparent, created_at)
select %(subject)s, id, %(traceparent)s, %(now)s
from unnest(%(ids)s::bigint[]) as given (id)
on conflict (subject, subject_id) do nothing;

-- remember_notifications --
-- Note the traces of n notifications, given by their keys. Arrays of length n. The first one counts.
insert into trace_parents (subject, subject_id, traceparent, created_at)
select 'notification', e.id, given.traceparent, %(now)s
from unnest(%(keys)b::bytea[], %(traceparents)s::text[]) as given (key, traceparent)
join webhook_events e on e.key = given.key and e.conflicts_with is null
on conflict (subject, subject_id) do nothing;

-- found --
-- The traces of n rows of one subject: 0 to n rows of id and header.
select subject_id, traceparent from trace_parents where subject = %(subject)s and subject_id = any(%(ids)s);

-- prune --
-- Forget those noted before %(before)s, at most %(limit)s; returns how many.
with old as (select subject, subject_id from trace_parents where created_at < %(before)s order by created_at limit %(limit)s),
gone as (
    delete from trace_parents p using old where p.subject = old.subject and p.subject_id = old.subject_id returning 1
)
select count(*) from gone;
