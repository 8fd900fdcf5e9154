-- concurrently
-- The oldest and the smallest uploads of each sender that wait, and its last turn: `waiting` of uploads.sql.
create index concurrently if not exists uploads_due_of_sender on uploads (added_by, due_at, id) where due_at is not null;
create index concurrently if not exists uploads_due_by_size on uploads (added_by, size_bytes, id) where due_at is not null;
create index concurrently if not exists uploads_turns on uploads (added_by, turn_at desc) where turn_at is not null;
