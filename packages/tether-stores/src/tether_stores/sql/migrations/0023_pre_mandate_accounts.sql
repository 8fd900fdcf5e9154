-- concurrently
-- Debtors by mandate, to find those of other accounts (mandates.sql).
create index concurrently if not exists debtors_by_mandate on debtors (mandate_key(mandate_id)) where mandate_id is not null;
