-- A chargeback can be forgiven without an entry of the blacklist.
alter table forgiven_disputes alter column blacklist_id drop not null;
