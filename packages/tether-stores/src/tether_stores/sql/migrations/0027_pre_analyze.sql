-- Only the owner of a table may update its planner statistics, and the worker is not the owner.
create function analyze_billing_attempts() returns void
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    analyze public.billing_attempts;
end
$$;
