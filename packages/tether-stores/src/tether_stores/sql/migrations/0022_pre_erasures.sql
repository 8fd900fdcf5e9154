-- Erasures of the personal data of debtors: tether_core.erasures.
alter table debtors add column erased_at timestamptz;
alter table debtors add constraint debtors_erased_without_account check (erased_at is null or iban = '') not valid;
alter table debtors validate constraint debtors_erased_without_account;

create table erasures (
    id bigint generated always as identity primary key,
    -- The debtors, and when each of them was stored: after a restore an id may be that of another debtor.
    debtor_ids bigint[] not null,
    stored_ats timestamptz[] not null,
    reason text not null,
    ordered_by text not null,
    accepts_reversible boolean not null,
    created_at timestamptz not null,
    -- Its entry in the list of erasures, which is kept in the object store; written before anything is erased.
    object_key text,
    -- When the rows were erased, and when files and archives were; or why nothing was.
    erased_at timestamptz,
    finished_at timestamptz,
    refused_at timestamptz,
    refused_reason text,
    constraint erasures_object_once unique (object_key),
    constraint erasures_debtors_with_times check (cardinality(debtor_ids) = cardinality(stored_ats)),
    constraint erasures_erased_after_listed check (erased_at is null or object_key is not null),
    constraint erasures_finished_after_erased check (finished_at is null or erased_at is not null),
    constraint erasures_refused_for_a_reason check (
        (refused_at is null) = (refused_reason is null) and (refused_at is null or erased_at is null)
    )
);
create index erasures_open on erasures (id) where finished_at is null and refused_at is null;
create index erasures_of_debtor on erasures using gin (debtor_ids);

-- The debit of an archived notification, by which its archive is found.
alter table archived_notifications add column attempt_id bigint;
create index archived_notifications_by_attempt on archived_notifications (attempt_id) where attempt_id is not null;
-- The object that an archive had before its personal data was erased, until that object is deleted.
alter table archives add column former_key text;
