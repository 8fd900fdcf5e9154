-- Whether the try after a return was made: without it, all that ever were are read again and again.
alter table billing_attempts add column is_retried boolean not null default false;
update billing_attempts a set is_retried = true from billing_attempts later where later.retry_of = a.id;
