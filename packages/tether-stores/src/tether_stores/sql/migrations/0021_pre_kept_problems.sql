-- How many problems of an upload are stored, by code, and how many are only counted: tether_core.uploads.problems.
alter table uploads add column kept_problems json not null default '{}';
