-- uploads: who waits for a turn, and the lease of a turn.
--
-- A worker selects an upload by `waiting` and leases it by `due_one` and `take`. The row is due again when the lease ends, so another worker
-- continues after a worker died.

-- waiting --
-- Of each sender, up to %(each)s of the oldest and as many of the smallest uploads that wait, with the time at which the sender's last
-- turn began. Up to 2 x %(each)s rows a sender: id, added_by, size_bytes, due_at, bytes_read, read_s, turn_at.
with recursive senders as (
    (select added_by from uploads where due_at is not null order by added_by limit 1)
    union all
    select (
        select u.added_by from uploads u
        where u.due_at is not null and u.added_by > s.added_by
        order by u.added_by
        limit 1
    )
    from senders s
    where s.added_by is not null
)
select
    w.id, s.added_by as sender, w.size_bytes, w.due_at as since, w.bytes_read, w.read_s,
    (
        select t.turn_at from uploads t
        where t.added_by = s.added_by and t.turn_at is not null
        order by t.turn_at desc
        limit 1
    ) as turn_at
from senders s
cross join lateral (
    (
        select u.id, u.size_bytes, u.due_at, u.bytes_read, u.read_s
        from uploads u
        where u.added_by = s.added_by and u.due_at <= %(now)s
        order by u.due_at, u.id
        limit %(each)s
    )
    union
    (
        select u.id, u.size_bytes, u.due_at, u.bytes_read, u.read_s
        from uploads u
        where u.added_by = s.added_by and u.due_at is not null and u.due_at <= %(now)s
        order by u.size_bytes, u.id
        limit %(each)s
    )
) w
where s.added_by is not null;

-- turn --
-- How an upload waits. 0 or 1 row: due_at, whether a worker holds it, bytes_read, plan is not null.
select due_at, lease is not null and due_at > %(now)s as is_held, bytes_read, plan is not null as is_planned
from uploads
where id = %(id)s;

-- due_one --
-- Lock the upload %(id)s if it is still due and no other worker is just taking it. 0 or 1 row.
select
    id, object_key, filename, size_bytes, sha256, state, created_at, answers::text, dry_run, plan::text,
    position::text, rows_read, notes::text, claims, screened_at, screening_answers::text, stored, excluded, refused,
    skipped, problem_counts::text, kept_problems::text
from uploads
where id = %(id)s and due_at <= %(now)s
for update skip locked;

-- take --
-- Lease the locked upload until %(until)s.
update uploads
set
    state = %(state)s, lease = %(lease)s, due_at = %(until)s, claims = claims + 1, turn_at = %(now)s,
    started_at = coalesce(started_at, %(now)s), updated_at = %(now)s
where id = %(id)s;

-- hold --
-- Renew a lease. Returns the id, or no row when it is somebody else's by now.
update uploads set due_at = %(until)s where id = %(id)s and lease = %(lease)s returning id;

-- release --
-- Give an upload back before its lease ends, to be taken again at %(due_at)s. A claim that did not fail does not count.
update uploads
set
    lease = null, due_at = %(due_at)s, claims = case when %(blameless)s then greatest(claims - 1, 0) else claims end,
    read_s = read_s + %(took_s)s
where id = %(id)s and lease = %(lease)s;

-- due --
-- Whether any upload has been due for longer than %(older_than_s)s seconds; with %(left_max_bytes)s and %(read_max_s)s, only those with
-- fewer bytes left that were read for a shorter time. One row.
select exists (
    select from uploads
    where
        due_at <= %(now)s - make_interval(secs => %(older_than_s)s)
        and (%(left_max_bytes)s::bigint is null or size_bytes - bytes_read <= %(left_max_bytes)s)
        and (%(read_max_s)s::double precision is null or read_s < %(read_max_s)s)
);
