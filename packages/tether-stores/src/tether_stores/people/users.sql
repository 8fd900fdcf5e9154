-- users: people who sign in to the console (tether_core.people).
--
-- A row is one person. It is never deleted, because the audit names it; a person who leaves is disabled. A change of role, accounts or
-- password and a disabling end the sessions of the user in the same transaction. `backup_codes` has the codes that replace the second
-- factor; a code is used once.

-- {columns} --
-- As `User`.
id, name, role, accounts, password_hash, is_temporary, second_factor, created_at, signed_in_at, disabled_at, oidc_issuer, oidc_subject

-- all_users --
-- Up to %(limit)s users by name.
select {columns} from users order by name limit %(limit)s;

-- by_id --
-- One user. 0 or 1 row.
select {columns} from users where id = %(user_id)s;

-- by_name --
-- One user. 0 or 1 row.
select {columns} from users where name = %(name)s;

-- by_subject --
-- The user to whom a person at the identity provider is bound, locked. 0 or 1 row.
select {columns} from users where oidc_issuer = %(issuer)s and oidc_subject = %(subject)s for update;

-- hold --
-- One user, locked. 0 or 1 row.
select {columns} from users where id = %(user_id)s for update;

-- other_admin --
-- Lock the enabled administrators, and say whether one besides %(user_id)s can sign in. 1 row.
with admins as (select id from users where role = 'admin' and disabled_at is null order by id for update)
select exists (select from admins where id <> %(user_id)s);

-- add --
-- A new user. 1 row: its id; none where the name exists.
insert into users (name, role, accounts, password_hash, is_temporary, created_at, updated_at)
values (%(name)s, %(role)s, %(accounts)s, %(password_hash)s, %(is_temporary)s, %(now)s, %(now)s)
on conflict (name) do nothing
returning id;

-- change --
-- Role, accounts and whether the user may sign in.
update users
set role = %(role)s, accounts = %(accounts)s, disabled_at = %(disabled_at)s, updated_at = %(now)s
where id = %(user_id)s;

-- set_password --
-- A new password.
update users
set password_hash = %(password_hash)s, is_temporary = %(is_temporary)s, updated_at = %(now)s
where id = %(user_id)s;

-- set_second_factor --
-- A second factor, or none.
update users
set second_factor = %(second_factor)s, second_factor_step = %(step)s, updated_at = %(now)s
where id = %(user_id)s;

-- bind --
-- The person at the identity provider. 1 row; none where somebody is bound. Fails where the person is bound to another user.
update users
set oidc_issuer = %(issuer)s, oidc_subject = %(subject)s, updated_at = %(now)s
where id = %(user_id)s and oidc_subject is null
returning id;

-- unbind --
-- Nobody at the identity provider.
update users set oidc_issuer = null, oidc_subject = null, updated_at = %(now)s where id = %(user_id)s;

-- use_step --
-- Accept a code of a time step once. 1 row; none where this step or a later one was accepted before.
update users
set second_factor_step = %(step)s
where id = %(user_id)s and (second_factor_step is null or second_factor_step < %(step)s)
returning id;

-- signed_in --
-- Note a sign-in.
update users set signed_in_at = %(now)s where id = %(user_id)s;

-- remove_backup_codes --
-- Forget the codes of a user.
delete from backup_codes where user_id = %(user_id)s;

-- add_backup_codes --
-- Codes of a user, by digest.
insert into backup_codes (user_id, code_digest) select %(user_id)s, unnest(%(digests)s::bytea[]);

-- use_backup_code --
-- Accept a code once. 1 row; none where there is no such code, or it was used.
update backup_codes
set used_at = %(now)s
where user_id = %(user_id)s and code_digest = %(code_digest)s and used_at is null
returning user_id;

-- backup_codes_left --
-- How many codes of a user are unused. 1 row.
select count(*) from backup_codes where user_id = %(user_id)s and used_at is null;
