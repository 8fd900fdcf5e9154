-- gateway_accounts: accounts at the gateway beside the one of the environment.
--
-- sealed holds login, passwords and terminal tokens, encrypted under TETHER_SECRETS_KEY; nothing of it is readable here.
-- A disabled row submits nothing, but its notifications are recorded: its debits may still change. A row with former_of is a login or
-- address that another account had before.

-- put --
-- Make an account, or replace all of it.
insert into gateway_accounts (
    name, sealed, api_url, billing_per_s, reconciliation_per_s, debit_max_minor, day_count_max, day_amount_max_minor,
    characters, enabled, former_of, created_at, updated_at
)
values (
    %(name)s, %(sealed)s, %(api_url)s, %(billing_per_s)s, %(reconciliation_per_s)s, %(debit_max_minor)s,
    %(day_count_max)s, %(day_amount_max_minor)s, %(characters)s, %(enabled)s, %(former_of)s, %(now)s, %(now)s
)
on conflict (name) do update
set
    sealed = excluded.sealed, api_url = excluded.api_url, billing_per_s = excluded.billing_per_s,
    reconciliation_per_s = excluded.reconciliation_per_s, debit_max_minor = excluded.debit_max_minor,
    day_count_max = excluded.day_count_max, day_amount_max_minor = excluded.day_amount_max_minor,
    characters = excluded.characters, enabled = excluded.enabled, former_of = excluded.former_of,
    updated_at = excluded.updated_at;

-- is_owner --
-- Whether the account %(name)s may have had the login or address of %(former)s: it is the environment's, or another row that is no
-- former one itself, and nothing is a former one of %(former)s. One row.
select
    (%(name)s = 'default' or exists (select from gateway_accounts where name = %(name)s and former_of is null))
    and %(name)s <> %(former)s
    and not exists (select from gateway_accounts where former_of = %(former)s);

-- enable --
-- Let an account send, or not. Returns its name, or no row when there is none that may.
update gateway_accounts set enabled = %(enabled)s, updated_at = %(now)s
where name = %(name)s and not (%(enabled)s and former_of is not null)
returning name;

-- rows --
-- All accounts, by name.
select
    name, sealed, api_url, billing_per_s, reconciliation_per_s, debit_max_minor, day_count_max, day_amount_max_minor,
    characters, enabled, former_of
from gateway_accounts
order by name;
