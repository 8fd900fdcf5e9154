-- Version 0 is built in and no row, and it is tried before it is switched on again.
alter table return_policy_dry_runs drop constraint if exists return_policy_dry_runs_version_fkey;
