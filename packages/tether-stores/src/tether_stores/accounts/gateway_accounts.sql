-- gateway_accounts: accounts at the gateway beside the one of the environment.
--
-- sealed holds login, passwords and terminal tokens, encrypted under TETHER_SECRETS_KEY; nothing of it is readable here.
-- A disabled row submits nothing, but its notifications are recorded: its debits may still change.

-- put --
-- Make an account, or replace all of it.
insert into gateway_accounts (
    name, sealed, api_url, billing_per_s, reconciliation_per_s, debit_max_minor, day_count_max, day_amount_max_minor,
    characters, enabled, created_at, updated_at
)
values (
    %(name)s, %(sealed)s, %(api_url)s, %(billing_per_s)s, %(reconciliation_per_s)s, %(debit_max_minor)s,
    %(day_count_max)s, %(day_amount_max_minor)s, %(characters)s, %(enabled)s, %(now)s, %(now)s
)
on conflict (name) do update
set
    sealed = excluded.sealed, api_url = excluded.api_url, billing_per_s = excluded.billing_per_s,
    reconciliation_per_s = excluded.reconciliation_per_s, debit_max_minor = excluded.debit_max_minor,
    day_count_max = excluded.day_count_max, day_amount_max_minor = excluded.day_amount_max_minor,
    characters = excluded.characters, enabled = excluded.enabled, updated_at = excluded.updated_at;

-- enable --
-- Let an account send, or not. Returns its name, or no row when there is none.
update gateway_accounts set enabled = %(enabled)s, updated_at = %(now)s where name = %(name)s returning name;

-- rows --
-- All accounts, by name.
select
    name, sealed, api_url, billing_per_s, reconciliation_per_s, debit_max_minor, day_count_max, day_amount_max_minor,
    characters, enabled
from gateway_accounts
order by name;
