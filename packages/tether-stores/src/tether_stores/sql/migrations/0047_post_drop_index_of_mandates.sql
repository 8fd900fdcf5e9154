-- concurrently
-- `debtors_by_mandate_plain` has the same keys; no query of this version reads the older index.
drop index concurrently if exists debtors_by_mandate;
