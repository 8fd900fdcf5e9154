-- sessions: who is signed in to the console (tether_web.console.sessions).
--
-- A row is one session: the digest of its cookie's token, and the name of the API key it was begun with. It changes only by being
-- used; it is removed when its person signs out, and in small batches once it has ended by itself.

-- add --
-- Begin a session.
insert into sessions (token_digest, holder, created_at, last_used_at)
values (%(token_digest)s, %(holder)s, %(now)s, %(now)s);

-- find --
-- The session of a token that was used after %(used_after)s and begun after %(begun_after)s. 0 or 1 row: holder, last_used_at.
select holder, last_used_at from sessions
where token_digest = %(token_digest)s and last_used_at > %(used_after)s and created_at > %(begun_after)s;

-- mark_used --
-- Note that a session was used.
update sessions set last_used_at = %(now)s where token_digest = %(token_digest)s;

-- remove --
-- End a session.
delete from sessions where token_digest = %(token_digest)s;

-- prune --
-- Remove up to %(limit)s sessions that ended by themselves.
delete from sessions where token_digest in (
    select token_digest from sessions where last_used_at < %(idle_before)s or created_at < %(before)s
    limit %(limit)s for update skip locked
);
