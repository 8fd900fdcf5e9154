-- Turns of uploads: when the last one began, and how long an upload was read so far. tether_core.uploads.turns decides by them.
alter table uploads
    add column turn_at timestamptz,
    add column read_s double precision not null default 0;
