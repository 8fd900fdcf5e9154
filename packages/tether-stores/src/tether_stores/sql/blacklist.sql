-- blacklist: IBANs that must not be debited.
--
-- An entry is made once per IBAN and reason while it lives, lifted by a person, never deleted.

-- add --
-- Make n entries where they do not exist. Arrays of length n. Returns how many are new.
with added as (
    insert into blacklist (
        iban_fingerprint, iban_masked, action, scope, reason_code, note, source, added_by,
        webhook_event_id, attempt_id, created_at
    )
    select
        told.iban_fingerprint, told.iban_masked, told.action, told.scope, told.reason_code, '', 'chargeback', 'tether',
        told.webhook_event_id, told.attempt_id, %(now)s
    from unnest(
        %(fingerprints)s::bytea[], %(maskeds)s::text[], %(actions)s::text[], %(scopes)s::text[],
        %(reason_codes)s::text[], %(webhook_event_ids)s::bigint[], %(attempt_ids)s::bigint[]
    ) as told (iban_fingerprint, iban_masked, action, scope, reason_code, webhook_event_id, attempt_id)
    order by told.iban_fingerprint, told.reason_code
    on conflict (iban_fingerprint, reason_code) where lifted_at is null do nothing
    returning 1
)
select count(*) from added;
