-- api_keys: keys of programs (tether_core.people.key_format).
--
-- A row is one key, by its digest: who reads the table has no key. It is never deleted, because the audit names it. It ends when it is revoked or
-- expires. The last use is written every few minutes at most.

-- {columns} --
-- As `ApiKey`.
id, name, role, accounts, owner, created_by, created_at, expires_at, last_used_at, revoked_at, revoked_by

-- all_keys --
-- Up to %(limit)s keys, newest first.
select {columns} from api_keys order by id desc limit %(limit)s;

-- by_digest --
-- One key. 0 or 1 row.
select {columns} from api_keys where key_digest = %(key_digest)s;

-- hold --
-- One key, locked. 0 or 1 row.
select {columns} from api_keys where id = %(key_id)s for update;

-- by_id --
-- One key. 0 or 1 row.
select {columns} from api_keys where id = %(key_id)s;

-- add --
-- A new key. 1 row: its id; none where a valid key has the name.
insert into api_keys (name, key_digest, role, accounts, owner, created_by, created_at, expires_at)
values (%(name)s, %(key_digest)s, %(role)s, %(accounts)s, %(owner)s, %(created_by)s, %(now)s, %(expires_at)s)
on conflict (name) where revoked_at is null do nothing
returning id;

-- revoke --
-- End a key.
update api_keys set revoked_at = %(now)s, revoked_by = %(revoked_by)s where id = %(key_id)s and revoked_at is null;

-- mark_used --
-- Note a use, if the last one was noted before %(used_before)s.
update api_keys
set last_used_at = %(now)s
where id = %(key_id)s and (last_used_at is null or last_used_at < %(used_before)s);

-- is_taken --
-- Whether a user, or a key that is not revoked, has a name. 1 row.
select
    exists (select from users where name = %(name)s)
    or exists (select from api_keys where name = %(name)s and revoked_at is null);
