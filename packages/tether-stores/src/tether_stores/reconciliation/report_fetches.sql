-- report_fetches: fetches of the gateway's reports, one row per account, list and day.
--
-- A row is made due by a periodic task or by a person. A worker leases it and reads page by page; the items of a page are stored in
-- the inbox in the transaction that counts the page here, so a fetch continues where a dead worker left it and nothing is
-- counted twice. At the end the counts replace those of the previous fetch, and the row is idle until it is due again.

-- want --
-- Make n lists due. Arrays of length n. A list that is being read continues, and is read once more after that, so that new items
-- are included.
insert into report_fetches (account, list, day_on, wanted_at, due_at)
select given.account, given.list, given.day_on, %(now)s, %(now)s
from unnest(%(accounts)s::text[], %(lists)s::text[], %(days)s::date[]) as given (account, list, day_on)
order by given.account, given.list, given.day_on
on conflict (account, list, day_on) do update
set
    wanted_at = excluded.wanted_at,
    due_at = coalesce(report_fetches.due_at, excluded.due_at),
    failures = case when report_fetches.due_at is null then 0 else report_fetches.failures end;

-- claim --
-- Take a lease on the list that has been due for longest. Returns it, 0 or 1 row.
with due as (
    select account, list, day_on
    from report_fetches
    where due_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
    order by due_at, day_on desc, account, list
    limit 1
    for update skip locked
)
update report_fetches p
set leased_until = %(leased_until)s, began_at = coalesce(p.began_at, %(now)s)
from due
where p.account = due.account and p.list = due.list and p.day_on = due.day_on
returning p.account, p.list as name, p.day_on as day, p.terminal, p.page, p.failures;

-- advance --
-- Count a page that was read, and keep the lease. Returns a row, or none where the lease is somebody else's by now.
update report_fetches
set
    page = %(next_page)s, terminal = %(next_terminal)s, listed_so_far = listed_so_far + %(listed)s,
    held_so_far = held_so_far + %(held)s, unread_so_far = unread_so_far + %(unread)s, failures = 0,
    leased_until = %(leased_until)s
where account = %(account)s and list = %(list)s and day_on = %(day_on)s and leased_until = %(lease)s
returning page;

-- finish --
-- End a reading: its counts are the list's now. Where it was requested again since the reading began, it is due again.
update report_fetches
set
    due_at = case when wanted_at > began_at then wanted_at end, leased_until = null, read_at = began_at, listed = listed_so_far, held = held_so_far,
    unread = unread_so_far, began_at = null, terminal = 0, page = 1, listed_so_far = 0, held_so_far = 0,
    unread_so_far = 0
where account = %(account)s and list = %(list)s and day_on = %(day_on)s and leased_until = %(lease)s;

-- deferred --
-- Go on with a reading later.
update report_fetches
set due_at = %(due_at)s, leased_until = null, failures = failures + 1
where account = %(account)s and list = %(list)s and day_on = %(day_on)s and leased_until = %(lease)s;

-- due --
-- Whether any list is due and nobody reads it. One row.
select exists (
    select from report_fetches where due_at <= %(now)s and (leased_until is null or leased_until <= %(now)s)
);

-- of_days --
-- The progress of reading the lists of some days.
select account, list as name, day_on as day, listed, held, unread, read_at, wanted_at
from report_fetches
where day_on between %(from_on)s and %(to_on)s
order by day_on, account, list;
