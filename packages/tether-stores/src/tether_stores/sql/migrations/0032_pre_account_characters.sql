-- In which names and texts are written to the gateway; null for EMP_CHARACTERS.
alter table gateway_accounts
    add column characters text constraint gateway_accounts_characters_known check (characters in ('latin', 'sepa'));
