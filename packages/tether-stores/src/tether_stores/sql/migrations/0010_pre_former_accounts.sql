-- A login or address that an account had before is a row of its own. Yesterday's code takes it for an account that submits nothing.

alter table gateway_accounts
add column former_of text constraint gateway_accounts_former_disabled check (former_of is null or not enabled);
