-- Who a user is at the identity provider, and how many factors it checked for a session: tether_core.people.oidc.
alter table users add column oidc_issuer text;
alter table users add column oidc_subject text;
alter table users add constraint users_oidc_whole check ((oidc_issuer is null) = (oidc_subject is null));
create unique index users_oidc_once on users (oidc_issuer, oidc_subject) where oidc_subject is not null;

alter table sessions add column provider_factors smallint;
alter table sessions add constraint sessions_provider_factors_one_or_two check (provider_factors in (1, 2));
