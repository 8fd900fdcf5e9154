-- The plain form of a mandate beside it, so that Postgres need not make it: computing `mandate_key` took a seventh of all that is done for a row
-- of a file, twice. Null where the worker leaves it to `mandate_key`, and for rows of older code. Adding the column rewrites nothing.
alter table debtors add column mandate_plain text;

-- A mandate that is changed or erased has no plain form until somebody writes it, also where older code changes it.
create function forget_mandate_plain() returns trigger language plpgsql as $$
begin
    new.mandate_plain = null;
    return new;
end
$$;
create trigger debtors_mandate_changed before update of mandate_id on debtors
for each row when (new.mandate_id is distinct from old.mandate_id) execute function forget_mandate_plain();
