-- concurrently
-- Rows by their mandate, however it is written: mandate_conflicts.uses. The same keys as in `debtors_by_mandate`, which older code reads.
create index concurrently if not exists debtors_by_mandate_plain on debtors (
    coalesce(hashtextextended(mandate_plain, 0), mandate_key(mandate_id))
) where mandate_id is not null;
