-- sessions: who is signed in to the console (tether_web.http.sessions).
--
-- A row is one session: the digest of its cookie's token, and whose it is: a user, a key of the database, or the name of a key of the
-- environment. It changes only by being used. A step of a sign-in ends it and begins another. It is removed when its person signs out, when
-- its user or key changes, and in small batches once it has ended by itself. `holder` is "user:" and the id for a user: no key of the environment has a
-- colon in its name.

-- add --
-- Begin a session.
insert into sessions (token_digest, holder, created_at, last_used_at, user_id, api_key_id, second_factor, provider_factors)
values (%(token_digest)s, %(holder)s, %(now)s, %(now)s, %(user_id)s, %(api_key_id)s, %(second_factor)s, %(provider_factors)s);

-- find --
-- The session of a token that was used after %(used_after)s and begun after %(begun_after)s. 0 or 1 row.
select holder, last_used_at, user_id, api_key_id, second_factor, provider_factors from sessions
where token_digest = %(token_digest)s and last_used_at > %(used_after)s and created_at > %(begun_after)s;

-- mark_used --
-- Note that a session was used.
update sessions set last_used_at = %(now)s where token_digest = %(token_digest)s;

-- remove --
-- End a session.
delete from sessions where token_digest = %(token_digest)s;

-- remove_of_user --
-- End the sessions of a user, except for the one with %(kept)s.
delete from sessions where user_id = %(user_id)s and token_digest is distinct from %(kept)s;

-- remove_of_api_key --
-- End the sessions of a key.
delete from sessions where api_key_id = %(key_id)s;

-- prune --
-- Remove up to %(limit)s sessions that ended by themselves.
delete from sessions where token_digest in (
    select token_digest from sessions where last_used_at < %(idle_before)s or created_at < %(before)s
    limit %(limit)s for update skip locked
);
