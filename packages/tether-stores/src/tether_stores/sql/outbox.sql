-- outbox: facts for others.
--
-- A row is written in the transaction of the change it speaks of, and handed on in the order of ids.

-- append --
-- Write n facts. Arrays of length n, in the order in which they happened.
insert into outbox (name, version, payload, webhook_event_id, occurred_at)
select told.name, told.version, told.payload, told.webhook_event_id, %(now)s
from unnest(%(names)b::text[], %(versions)b::smallint[], %(payloads)b::bytea[], %(webhook_event_ids)b::bigint[])
    with ordinality as told (name, version, payload, webhook_event_id, position)
order by told.position;
