-- A lost history may have submitted to any identity that its account had lately, whatever is configured by now.

alter table gateway_identities
    add column last_known_on date,
    drop constraint gateway_identities_pkey,
    add primary key (account, key);
