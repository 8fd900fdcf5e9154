-- concurrently
-- Uploads whose files or problems are still kept, the oldest first: retention/pruning.old_files and old_problems.
create index concurrently if not exists uploads_with_file on uploads (created_at, id) where file_removed_at is null;
create index concurrently if not exists uploads_with_problems on uploads (created_at, id) where problems_removed_at is null;
