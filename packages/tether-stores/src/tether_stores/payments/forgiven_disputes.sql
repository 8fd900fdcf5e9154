-- forgiven_disputes: chargebacks that a person has forgiven, which exclude their account no longer.
--
-- A row is written by the lift of a blacklist entry (`blacklist.sql`), or for one chargeback alone, then without an entry. It names the
-- dispute by its stage: a second chargeback of the debit, after the first was won back, is another one.

-- hold --
-- One debit, held until the transaction ends. 0 or 1 row: state, dispute_stage, and who has forgiven this stage, when and why.
select a.state, a.dispute_stage, f.forgiven_by, f.forgiven_at, f.reason
from billing_attempts a
left join forgiven_disputes f on f.attempt_id = a.id and f.dispute_stage = a.dispute_stage
where a.id = %(attempt_id)s
for update of a;

-- forgive --
-- Note that the chargeback of a debit is forgiven. Held by `hold`.
insert into forgiven_disputes (attempt_id, dispute_stage, forgiven_at, forgiven_by, reason)
values (%(attempt_id)s, %(dispute_stage)s, %(now)s, %(forgiven_by)s, %(reason)s);

-- remaining --
-- What still excludes the account of a debit: how many chargebacks nobody has forgiven, and the ids of its active blacklist entries.
-- One row.
select
    (
        select count(*)
        from billing_attempts other
        where
            other.iban_fingerprint = a.iban_fingerprint and other.dispute_stage in (1, 3)
            and not exists (
                select from forgiven_disputes f
                where f.attempt_id = other.id and f.dispute_stage = other.dispute_stage
            )
    ),
    array(
        select b.id
        from blacklist b
        where
            b.iban_fingerprint = a.iban_fingerprint and b.lifted_at is null
            and (b.expires_at is null or b.expires_at > %(now)s)
        order by b.id
    )
from billing_attempts a
where a.id = %(attempt_id)s;
