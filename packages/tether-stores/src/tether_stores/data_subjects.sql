-- data_subjects: the debtors about one person (tether_core.data_subjects).

-- chosen --
-- The debtor that was named, with the fingerprints of its account and of those it had before an edit. 0 or 1 row: name, fingerprints.
select
    d.name,
    array(
        select d.iban_fingerprint
        union
        select e.iban_fingerprint_before from debtor_edits e
        where e.debtor_id = d.id and e.iban_fingerprint_before is not null
    ) as fingerprints
from debtors d
where d.id = %(debtor_id)s;

-- of_accounts --
-- The debtors that have one of some accounts, or had it before an edit. Up to %(limit)s rows: debtor_id, name.
select d.id as debtor_id, d.name
from debtors d
where
    d.id in (
        select o.id from debtors o where o.iban_fingerprint = any(%(fingerprints)s::bytea[])
        union
        select e.debtor_id from debtor_edits e where e.iban_fingerprint_before = any(%(fingerprints)s::bytea[])
    )
order by d.id
limit %(limit)s;

-- of_name --
-- Debtors whose names have all words of a name. Up to %(limit)s rows: debtor_id, name.
select id as debtor_id, name
from (
    select d.id, d.name
    from debtors d
    where to_tsvector('simple', d.name) @@ plainto_tsquery('simple', %(name)s)
    limit %(limit)s
) found
order by id;
