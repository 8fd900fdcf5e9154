-- order_keys: results of orders under the key their sender chose (tether_core.order_keys).
--
-- A row is written by the transaction that places the order, so there is no order without its row and no row without its
-- order. The same key waits at a lock until the first request has ended; then it finds the row, or nothing where the first was
-- refused. Rows never change. They are removed in small batches once they are older than anybody repeats a request.

-- lock --
-- Let one request with a key at a time pass, until its transaction ends. Waits for the other one up to %(wait)s, then Postgres
-- refuses (lock_not_available). Locks of different keys may meet by chance; then one waits for nothing.
select set_config('lock_timeout', %(wait)s, true), pg_advisory_xact_lock(hashtextextended(%(holder)s || ' ' || %(key)s, 0));

-- find --
-- The order that was placed under a key. 0 or 1 row: request, status, location, body.
select request, status, location, body from order_keys where holder = %(holder)s and key = %(key)s;

-- add --
-- Keep the result of an order, in the transaction that places it.
insert into order_keys (holder, key, request, status, location, body, created_at)
values (%(holder)s, %(key)s, %(request)s, %(status)s, %(location)s, %(body)s, %(now)s);

-- prune --
-- Remove up to %(limit)s results that were kept before %(before)s. Returns how many.
with gone as (
    delete from order_keys
    where (holder, key) in (
        select holder, key from order_keys where created_at < %(before)s order by created_at limit %(limit)s for update skip locked
    )
    returning 1
)
select count(*) from gone;
