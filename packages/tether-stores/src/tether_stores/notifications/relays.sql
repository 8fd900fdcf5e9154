-- relays: further addresses for notifications, each of one gateway account (tether_core.notifications.relays).
--
-- A row has the digest of a token. It is revoked and never deleted, since notifications name it. Web processes read all rows that are not revoked every
-- few seconds, so that no request reads one.

-- live --
-- The relays that are not revoked. Up to %(limit)s rows.
select id, name, account, digest from relays where revoked_at is null order by id limit %(limit)s;

-- listed --
-- All relays, newest first, each with the latest notification that it brought. Up to %(limit)s rows.
select r.id, r.name, r.account, r.created_by, r.created_at, r.revoked_by, r.revoked_at, latest.received_at as last_received_at
from relays r
left join lateral (
    select e.received_at from webhook_events e where e.relay_id = r.id order by e.id desc limit 1
) latest on true
order by r.id desc
limit %(limit)s;

-- add --
-- Add a relay, unless one that is not revoked has the name, or there are %(relays_max)s of these. Returns its id, or no row.
insert into relays (name, account, digest, created_by, created_at)
select %(name)s, %(account)s, %(digest)s, %(created_by)s, %(now)s
where (select count(*) from relays where revoked_at is null) < %(relays_max)s
on conflict do nothing
returning id;

-- revoke --
-- Revoke a relay. Returns name and account; no row where there is none or it was revoked before.
update relays
set revoked_by = %(revoked_by)s, revoked_at = %(now)s
where id = %(id)s and revoked_at is null
returning name, account;
