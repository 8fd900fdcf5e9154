-- password_uses: how many notifications each password verified, by day; tether_core.notifications.password_uses.
--
-- A web process counts in memory and adds its counts every few seconds, so a row is written some times a minute, not once a notification. A
-- process that is killed loses the counts of its last seconds.

-- add --
-- Add counts to n rows. Arrays of length n, no account and tag twice; in the order of the key, so that two processes wait for each other
-- instead of deadlocking.
insert into password_uses as p (account, tag, used_on, live, reverified)
select given.account, given.tag, %(used_on)s, given.live, given.reverified
from unnest(%(accounts)b::text[], %(tags)b::text[], %(lives)b::bigint[], %(reverifieds)b::bigint[])
    as given (account, tag, live, reverified)
order by given.account, given.tag
on conflict (used_on, account, tag) do update
set live = p.live + excluded.live, reverified = p.reverified + excluded.reverified;

-- since --
-- The counts of the days since %(since_on)s. One row an account and tag: account, tag, live, reverified, last_on.
select account, tag, sum(live)::bigint as live, sum(reverified)::bigint as reverified, max(used_on) as last_on
from password_uses
where used_on >= %(since_on)s
group by account, tag
order by account, tag;

-- prune --
-- Delete the counts of days before %(before_on)s.
delete from password_uses where used_on < %(before_on)s;
