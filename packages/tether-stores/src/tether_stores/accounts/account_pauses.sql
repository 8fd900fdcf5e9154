-- account_pauses: gateway accounts with which nothing is submitted now.
--
-- A row is a pause that a person ordered; resuming removes it. The queries that look for debits and orders to submit leave these accounts
-- out. Each transaction that claims calls takes the account's advisory lock (class 3) in share mode and looks again, and a pause takes it
-- alone, so after a pause no call is claimed. A name needs no row in gateway_accounts: the environment's account can be paused.

-- share --
-- Let pauses of an account wait until this transaction ends.
select pg_advisory_xact_lock_shared(3, hashtext(%(account)s));

-- hold --
-- Wait until no other transaction claims calls of an account; until this transaction ends.
select pg_advisory_xact_lock(3, hashtext(%(account)s));

-- is_paused --
-- Whether an account is paused. One row.
select exists (select from account_pauses where account = %(account)s);

-- pause --
-- Pause an account. Returns its row; none where it is paused already.
insert into account_pauses (account, paused_by, reason, paused_at)
values (%(account)s, %(paused_by)s, %(reason)s, %(now)s)
on conflict (account) do nothing
returning account, paused_by, reason, paused_at;

-- resume --
-- Resume an account. Returns the row of its pause; none where it is not paused.
delete from account_pauses where account = %(account)s returning account, paused_by, reason, paused_at;

-- pauses --
-- All pauses, at most one per account: account, paused_by, reason, paused_at.
select account, paused_by, reason, paused_at from account_pauses order by account;
