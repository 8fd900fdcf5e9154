-- Intake: the life of an upload, what a debtor is made of, problems, and names and addresses on the blacklist.

-- json and not jsonb: headers and cells stand in there as they came, zero bytes among them.
alter table uploads
    add column content_key bytea,
    add column answers json not null default '{}',
    add column dry_run boolean not null default false,
    add column forced boolean not null default false,
    add column added_by text not null default '',
    add column plan json,
    add column preview json,
    add column position json,
    add column notes json not null default '[]',
    add column bytes_read bigint not null default 0,
    add column rows_read bigint not null default 0,
    add column stored bigint not null default 0,
    add column excluded bigint not null default 0,
    add column refused bigint not null default 0,
    add column skipped bigint not null default 0,
    add column warnings bigint not null default 0,
    add column amount_minor bigint not null default 0,
    add column verdict_counts json not null default '{}',
    add column problem_counts json not null default '{}',
    add column failure_code text,
    add column failure text,
    add column lease text,
    add column due_at timestamptz,
    add column claims smallint not null default 0,
    add column started_at timestamptz,
    add column finished_at timestamptz,
    add constraint uploads_state_known check (
        state in ('received', 'examining', 'needs_answer', 'reading', 'completed', 'failed')
    ),
    add constraint uploads_rows_add_up check (rows_read = stored + excluded + refused + skipped),
    add constraint uploads_failed_for_a_reason check (
        (state = 'failed') = (failure_code is not null) and (failure_code is null) = (failure is null)
    );
-- The same bytes with the same answers are one upload, however many people send them at once.
create unique index uploads_once on uploads (content_key, dry_run) where not forced;
create unique index uploads_object_once on uploads (object_key);
create index uploads_due on uploads (due_at, id) where due_at is not null;

alter table debtors
    -- A file of a million rows would look its upload up a million times, in the transaction that writes that upload.
    drop constraint debtors_upload_id_fkey,
    add column first_name text,
    add column last_name text,
    add column bic text,
    add column mandate_id text,
    add column mandate_signed_on date,
    add column reference text,
    add column customer_id text,
    add column email text,
    add column phone text,
    add column street text,
    add column house_number text,
    add column postcode text,
    add column city text,
    add column province text,
    add column country text,
    add column description text,
    add column born_on date,
    add column national_id text,
    add column extra jsonb,
    add column verdict text not null default 'clear',
    add column cause text,
    add constraint debtors_verdict_known check (
        verdict in (
            'clear', 'duplicate_in_file', 'blacklisted', 'chargebacked_before', 'already_collected',
            'recently_attempted', 'blacklisted_name', 'blacklisted_email'
        )
    ),
    add constraint debtors_excluded_for_a_cause check ((verdict = 'clear') = (cause is null));
create index debtors_by_upload on debtors (upload_id, id);
create index debtors_left_out on debtors (upload_id, row_number) where verdict <> 'clear';
create index debtors_by_verdict on debtors (verdict, id) where verdict <> 'clear';

-- What is wrong with rows that became no debtors, and what deserves a look of those that did.
create table problems (
    upload_id bigint not null,
    row_number integer not null,
    ordinal smallint not null,
    level text not null,
    column_name text not null,
    code text not null,
    shown text not null,
    note text not null,
    cells json,
    primary key (upload_id, row_number, ordinal),
    constraint problems_level_known check (level in ('error', 'warning'))
);

-- What a dry run has to remember of the rows it read until it is over: it stores no debtors.
create table rehearsed_rows (
    upload_id bigint not null,
    iban_fingerprint bytea not null,
    row_number integer not null,
    reference text
);
create index rehearsed_rows_by_fingerprint on rehearsed_rows (upload_id, iban_fingerprint);

-- An entry is about one of three: an IBAN, a name, an e-mail address.
alter table blacklist
    alter column iban_fingerprint drop not null,
    alter column iban_masked drop not null,
    add column name text,
    add column name_key text,
    add column email text,
    drop constraint blacklist_scope_known,
    add constraint blacklist_scope_known check (scope in ('iban', 'mandate', 'name', 'email')),
    add constraint blacklist_about_one check (num_nonnulls(iban_fingerprint, name_key, email) = 1),
    add constraint blacklist_shown check (
        (iban_fingerprint is null) = (iban_masked is null) and (name_key is null) = (name is null)
    );
create unique index blacklist_name_once on blacklist (name_key, reason_code)
where lifted_at is null and name_key is not null;
create unique index blacklist_email_once on blacklist (email, reason_code)
where lifted_at is null and email is not null;
