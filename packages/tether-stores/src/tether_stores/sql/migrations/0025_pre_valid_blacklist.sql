-- Check the rows there are against the constraints of the migration before; this reads the tables without blocking writers.
alter table blacklist validate constraint blacklist_scope_known;
alter table blacklist validate constraint blacklist_source_known;
alter table blacklist validate constraint blacklist_about_one;
alter table debtors validate constraint debtors_verdict_known;
