-- blacklist: IBANs, names and e-mail addresses that must not be debited.
--
-- An entry is about one of the three, and is made once per reason while it lives; it is lifted by a person, or it
-- expires, and is never deleted. IBANs are matched by fingerprint (docs/decisions/0008), names and addresses by a plain form.

-- add --
-- Make n entries where they do not exist. Arrays of length n; of equal ones the first counts. One that has expired
-- lives anew: the same reason came up again. Returns iban_fingerprint and reason_code of those that are new.
insert into blacklist (
    iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by,
    webhook_event_id, attempt_id, created_at
)
select distinct on (told.iban_fingerprint, told.reason_code)
    told.iban_fingerprint, told.iban_masked, told.action, told.scope, told.reason_code, '', 'chargeback', 'tether',
    told.webhook_event_id, told.attempt_id, %(now)s
from unnest(
    %(fingerprints)b::bytea[], %(maskeds)b::text[], %(actions)b::text[], %(scopes)b::text[],
    %(reason_codes)b::text[], %(webhook_event_ids)b::bigint[], %(attempt_ids)b::bigint[]
) with ordinality as told (
    iban_fingerprint, iban_masked, action, scope, reason_code, webhook_event_id, attempt_id, position
)
order by told.iban_fingerprint, told.reason_code, told.position
on conflict (iban_fingerprint, reason_code) where lifted_at is null do update
set
    action = excluded.action, expires_at = null, source = excluded.source, added_by = excluded.added_by,
    webhook_event_id = excluded.webhook_event_id, attempt_id = excluded.attempt_id, created_at = excluded.created_at
where blacklist.expires_at <= %(now)s
returning iban_fingerprint, reason_code;

-- expire --
-- Lift the expired entries about the same things, so that new ones can be made. Arrays as for `enter`.
update blacklist b
set lifted_at = b.expires_at, lifted_by = 'tether', lifted_because = 'expired'
from unnest(%(fingerprints)b::bytea[], %(name_keys)b::text[], %(emails)b::text[], %(reason_codes)b::text[])
    as told (iban_fingerprint, name_key, email, reason_code)
where
    b.lifted_at is null
    and b.expires_at <= %(now)s
    and b.reason_code = told.reason_code
    and (b.iban_fingerprint = told.iban_fingerprint or b.name_key = told.name_key or b.email = told.email);

-- enter --
-- Make n entries that people asked for, where they do not exist. Arrays of length n; of fingerprint, name and e-mail
-- address one each is not null. Returns id and position (from 1) of those that are new: 0 to n rows.
with told as (
    select *
    from unnest(
        %(fingerprints)b::bytea[], %(maskeds)b::text[], %(names)b::text[], %(name_keys)b::text[], %(emails)b::text[],
        %(actions)b::text[], %(scopes)b::text[], %(reason_codes)b::text[], %(notes)b::text[], %(expires_ats)b::timestamptz[]
    ) with ordinality as t (
        iban_fingerprint, iban_masked, name, name_key, email, action, scope, reason_code, note, expires_at, position
    )
),
added as (
    insert into blacklist (
        iban_fingerprint, iban_masked, name, name_key, email, action, scope, reason_code, note, source, added_by,
        created_at, expires_at
    )
    select
        iban_fingerprint, iban_masked, name, name_key, email, action, scope, reason_code, note, %(source)s, %(added_by)s,
        %(now)s, expires_at
    from told
    order by iban_fingerprint, name_key, email, reason_code, position
    on conflict do nothing
    returning id, iban_fingerprint, name_key, email, reason_code
)
select a.id, min(t.position)
from added a
join told t
    on t.reason_code = a.reason_code
    and (t.iban_fingerprint = a.iban_fingerprint or t.name_key = a.name_key or t.email = a.email)
group by a.id
order by 2;

-- lift --
-- End an entry. Returns its id, or no row when it does not live.
update blacklist
set lifted_at = %(now)s, lifted_by = %(lifted_by)s, lifted_because = %(because)s
where id = %(id)s and lifted_at is null
returning id;

-- listed --
-- One page for people, newest first. Filters that are null do not filter. Up to %(limit)s rows.
select
    id, iban_masked, name, email, action, scope, reason_code, note, source, added_by, webhook_event_id, attempt_id,
    created_at, expires_at, lifted_at, lifted_by, lifted_because, encode(iban_fingerprint, 'hex')
from blacklist
where
    (%(before)s::bigint is null or id < %(before)s)
    and (%(live)s::boolean is null or %(live)s = (lifted_at is null and (expires_at is null or expires_at > %(now)s)))
    and (%(action)s::text is null or action = %(action)s)
    and (%(source)s::text is null or source = %(source)s)
    and (%(reason_code)s::text is null or reason_code = %(reason_code)s)
    and (%(fingerprint)s::bytea is null or iban_fingerprint = %(fingerprint)s)
    and (%(name_key)s::text is null or name_key = %(name_key)s)
    and (%(email)s::text is null or email = %(email)s)
order by id desc
limit %(limit)s;

-- one --
-- One entry, the columns of `listed`. 0 or 1 row.
select
    id, iban_masked, name, email, action, scope, reason_code, note, source, added_by, webhook_event_id, attempt_id,
    created_at, expires_at, lifted_at, lifted_by, lifted_because, encode(iban_fingerprint, 'hex')
from blacklist
where id = %(id)s;

-- standing --
-- The live entry about something for a reason. 0 or 1 row: its id.
select id
from blacklist
where
    lifted_at is null
    and reason_code = %(reason_code)s
    and (iban_fingerprint = %(fingerprint)s or name_key = %(name_key)s or email = %(email)s);

-- names_any --
-- Whether any name or e-mail address is on the list. One row.
select exists (select from blacklist where name_key is not null and lifted_at is null)
    or exists (select from blacklist where email is not null and lifted_at is null);

-- names_among --
-- Which of n names and m e-mail addresses are on the list now. One row for each: kind ("name" or "email"), value.
select 'name', name_key
from blacklist
where
    name_key = any(%(name_keys)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s)
union
select 'email', email
from blacklist
where email = any(%(emails)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s);

-- names_listed --
-- The active entries about n names and m e-mail addresses, "block" before "hold". One row each: kind ("name" or "email"),
-- value, action, reason_code, id.
select 'name', name_key, action, reason_code, id
from blacklist
where
    name_key = any(%(name_keys)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s)
union all
select 'email', email, action, reason_code, id
from blacklist
where
    email = any(%(emails)b) and lifted_at is null and (expires_at is null or expires_at > %(now)s)
order by action, id;
