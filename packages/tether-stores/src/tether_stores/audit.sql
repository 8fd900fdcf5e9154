-- audit: who did what (tether_core.audit).
--
-- A row is written in the transaction of its action, and a trigger refuses any change of it. Lists read it from the newest row.
-- Each list leads with one filter that has an index; further filters are checked on up to %(examined_max)s rows.

-- record --
-- One action.
insert into audit (acted_at, actor_kind, actor_id, actor, address, action, subject, subject_id, reason, before, after)
values (
    %(now)s, %(actor_kind)s, %(actor_id)s, %(actor)s, %(address)s, %(action)s, %(subject)s, %(subject_id)s, %(reason)s,
    %(before)s, %(after)s
);

-- {columns} --
-- As `AuditRow`.
a.id, a.acted_at, a.actor_kind, a.actor_id, a.actor, a.address, a.action, a.subject, a.subject_id, a.reason, a.before, a.after

-- {fits_filters} --
-- Whether a row fits all filters.
(%(actor)s::text is null or a.actor = %(actor)s)
and (%(action)s::text is null or a.action = %(action)s)
and (%(subject)s::text is null or a.subject = %(subject)s)
and (%(subject_id)s::text is null or a.subject_id = %(subject_id)s)
and (%(from_at)s::timestamptz is null or a.acted_at >= %(from_at)s)
and (%(to_at)s::timestamptz is null or a.acted_at < %(to_at)s)

-- newest --
-- All rows.
select {columns}, ({fits_filters}) is true as fits
from audit a
where (%(before_id)s::bigint is null or a.id < %(before_id)s)
order by a.id desc
limit %(examined_max)s;

-- by_actor --
-- The rows of an actor.
select {columns}, ({fits_filters}) is true as fits
from audit a
where a.actor = %(actor)s and (%(before_id)s::bigint is null or a.id < %(before_id)s)
order by a.id desc
limit %(examined_max)s;

-- by_action --
-- The rows of an action.
select {columns}, ({fits_filters}) is true as fits
from audit a
where a.action = %(action)s and (%(before_id)s::bigint is null or a.id < %(before_id)s)
order by a.id desc
limit %(examined_max)s;

-- by_subject --
-- The rows about one thing.
select {columns}, ({fits_filters}) is true as fits
from audit a
where
    a.subject = %(subject)s
    and a.subject_id = %(subject_id)s
    and (%(before_id)s::bigint is null or a.id < %(before_id)s)
order by a.id desc
limit %(examined_max)s;

-- about --
-- The rows about some things, newest first: arrays of length n. Up to %(limit)s rows; each thing is looked up by its own.
select found.*
from unnest(%(subjects)s::text[], %(subject_ids)s::text[]) as given (subject, subject_id)
cross join lateral (
    select {columns}
    from audit a
    where a.subject = given.subject and a.subject_id = given.subject_id
    order by a.id desc
    limit %(limit)s
) found
order by found.id desc
limit %(limit)s;
