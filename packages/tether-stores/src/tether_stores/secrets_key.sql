-- Sealed texts: columns that are encrypted under TETHER_SECRETS_KEY, and their change to another key (tether_stores.secrets_key).
--
-- Each row lives in the table of its subject, which says when it is written. Here its text is replaced by one that opens to the same under the first
-- key. A row that another transaction holds is passed over; nothing here waits for a row, so nothing can wait for it in a circle.

-- accounts --
-- The next %(limit)s gateway accounts after a name. 0 to n rows: key, sealed.
select name, sealed from gateway_accounts where name > %(after)s order by name limit %(limit)s;

-- subscribers --
-- The next %(limit)s subscribers with secrets after a row. 0 to n rows: key, sealed.
select id, sealed from subscribers where id > %(after)s and sealed <> '' order by id limit %(limit)s;

-- second_factors --
-- The next %(limit)s users with a second factor after a row. 0 to n rows: key, sealed.
select id, second_factor from users where id > %(after)s and second_factor is not null order by id limit %(limit)s;

-- quarantine --
-- The next %(limit)s refused notifications after a row. 0 to n rows: key, sealed.
select id, sealed from quarantined_notifications where id > %(after)s order by id limit %(limit)s;

-- reseal_accounts --
-- Replace the texts of n gateway accounts that have not changed since they were read. Arrays of length n. Returns how many.
with held as materialized (
    select name from gateway_accounts where name = any(%(keys)b::text[]) for update skip locked
),
resealed as (
    update gateway_accounts t
    set sealed = given.after
    from unnest(%(keys)b::text[], %(befores)b::bytea[], %(afters)b::bytea[]) as given (name, before, after)
    join held on held.name = given.name
    where t.name = given.name and t.sealed = given.before
    returning 1
)
select count(*) from resealed;

-- reseal_subscribers --
-- The same for n subscribers.
with held as materialized (
    select id from subscribers where id = any(%(keys)b::bigint[]) for update skip locked
),
resealed as (
    update subscribers t
    set sealed = given.after
    from unnest(%(keys)b::bigint[], %(befores)b::bytea[], %(afters)b::bytea[]) as given (id, before, after)
    join held on held.id = given.id
    where t.id = given.id and t.sealed = given.before
    returning 1
)
select count(*) from resealed;

-- reseal_second_factors --
-- The same for n users.
with held as materialized (
    select id from users where id = any(%(keys)b::bigint[]) for update skip locked
),
resealed as (
    update users t
    set second_factor = given.after
    from unnest(%(keys)b::bigint[], %(befores)b::bytea[], %(afters)b::bytea[]) as given (id, before, after)
    join held on held.id = given.id
    where t.id = given.id and t.second_factor = given.before
    returning 1
)
select count(*) from resealed;

-- reseal_quarantine --
-- The same for n refused notifications.
with held as materialized (
    select id from quarantined_notifications where id = any(%(keys)b::bigint[]) for update skip locked
),
resealed as (
    update quarantined_notifications t
    set sealed = given.after
    from unnest(%(keys)b::bigint[], %(befores)b::bytea[], %(afters)b::bytea[]) as given (id, before, after)
    join held on held.id = given.id
    where t.id = given.id and t.sealed = given.before
    returning 1
)
select count(*) from resealed;
