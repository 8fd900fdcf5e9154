-- outbox: facts for others.
--
-- A row is written in the transaction of the change it reports, and delivered in the order of ids. Ids are given out before
-- their transactions commit, so a smaller one may become visible after a larger one. A reader that hands rows on first asks for the tip,
-- and reads up to it once the transactions that were writing then have ended (docs/decisions/0011-events-in-order-of-ids.md).

-- append --
-- Write n facts. Arrays of length n, in the order in which they happened.
insert into outbox (name, version, payload, webhook_event_id, occurred_at)
select given.name, given.version, given.payload, given.webhook_event_id, %(now)s
from unnest(%(names)b::text[], %(versions)b::smallint[], %(payloads)b::bytea[], %(webhook_event_ids)b::bigint[])
    with ordinality as given (name, version, payload, webhook_event_id, position)
order by given.position;

-- tip --
-- The newest visible id, 0 for none, and, where it is beyond `after`, which transactions are writing to the table. A transaction
-- that was given a smaller id and is not in sight yet is one of them: it has held this lock since before it had the id, and will
-- hold it until its rows are in sight.
select
    tip.id,
    case when tip.id > %(after)s::bigint then array(
        select locks.virtualtransaction
        from pg_locks locks
        where locks.locktype = 'relation'
            and locks.database = (select oid from pg_database where datname = current_database())
            and locks.relation = 'outbox'::regclass
            and locks.mode = 'RowExclusiveLock'
            and locks.granted
    ) else '{}' end as writing
from (select coalesce(max(id), 0) as id from outbox) as tip;

-- between --
-- At most `limit` rows with ids beyond `after`, up to and with `up_to`, in order; with one of `names`, or all where that is null.
select id, name, payload, webhook_event_id, occurred_at
from outbox
where id > %(after)s and id <= %(up_to)s and (%(names)s::text[] is null or name = any(%(names)s::text[]))
order by id
limit %(limit)s;
