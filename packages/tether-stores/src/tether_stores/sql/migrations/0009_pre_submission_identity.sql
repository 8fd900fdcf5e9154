-- Every call is committed with the gateway identity it goes to, and "not found" counts only from there.

create table gateway_identities (
    key text primary key,
    account text not null,
    name text not null,
    first_used_at timestamptz not null,
    constraint gateway_identities_key_form check (key ~ '^[0-9a-f]{16}$')
);

alter table billing_attempts
    add column submitted_to text[],
    add column not_found jsonb,
    add column unresolved_because text;
alter table givebacks
    add column submitted_to text[],
    add column not_found jsonb,
    add column unresolved_because text;
