-- Recurring collection: tether_core.recurring.

-- What a series of debits may do; options is JSON of tether_core.recurring.collection_plan.PlanOptions.
create table collection_plans (
    id bigint generated always as identity primary key,
    name text not null,
    account text not null,
    options bytea not null,
    state text not null,
    state_reason text,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint collection_plans_state_known check (state in ('active', 'paused', 'ended'))
);
create unique index collection_plans_name_once on collection_plans (account, name);

-- The permission of a debtor. It is for the account that its debtor had at account_since_at; an edit of that account after it shows that the
-- mandate is for another one. No fingerprint is stored here, so that a new fingerprint key changes nothing.
create table mandates (
    id bigint generated always as identity primary key,
    account text not null,
    debtor_id bigint not null references debtors (id),
    reference text not null,
    -- What it is compared by: tether_core.recurring.mandate.key_of.
    reference_key text not null,
    kind text not null,
    state text not null,
    iban_masked text not null,
    signed_on date not null,
    last_used_on date,
    uses integer not null default 0,
    account_since_at timestamptz not null,
    ended_at timestamptz,
    ended_reason text,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint mandates_kind_known check (kind in ('recurrent', 'one_off')),
    constraint mandates_state_known check (state in ('active', 'revoked', 'cancelled')),
    constraint mandates_ended_for_a_reason check (
        (state = 'active') = (ended_at is null) and (state = 'active') = (ended_reason is null)
    )
);
-- A creditor gives each reference once.
create unique index mandates_once on mandates (account, reference_key) where state = 'active';
create index mandates_by_debtor on mandates (debtor_id);
create index mandates_by_account on mandates (account, id);

-- One debtor under a collection plan; tether_core.recurring.schedule.
create table collection_schedules (
    id bigint generated always as identity primary key,
    collection_plan_id bigint not null references collection_plans (id),
    debtor_id bigint not null references debtors (id),
    mandate_id bigint not null references mandates (id),
    amount_minor bigint not null,
    first_due_on date not null,
    last_due_on date,
    -- The number of the next due date without a due item, and the day on which that is made.
    next_number integer not null default 0,
    make_on date,
    state text not null,
    state_reason text,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint collection_schedules_state_known check (state in ('active', 'paused', 'ended')),
    constraint collection_schedules_amount_positive check (amount_minor > 0)
);
-- A debtor has one at a time: its due items are named by their dates.
create unique index collection_schedules_live_once on collection_schedules (debtor_id) where state <> 'ended';
create index collection_schedules_due on collection_schedules (make_on, id) where state = 'active' and make_on is not null;
create index collection_schedules_by_plan on collection_schedules (collection_plan_id, id);
create index collection_schedules_by_mandate on collection_schedules (mandate_id);

-- What a schedule owes on a due date; tether_core.recurring.due_item.
create table due_items (
    id bigint generated always as identity primary key,
    schedule_id bigint not null references collection_schedules (id),
    collection_plan_id bigint not null references collection_plans (id),
    upload_id bigint not null references uploads (id),
    debtor_id bigint not null references debtors (id),
    due_on date not null,
    due_item text not null,
    amount_minor bigint not null,
    is_last boolean not null,
    state text not null,
    -- The first day on which it could be ordered, and the next one; null while its pre-notification is not given.
    collect_from_on date,
    collect_on date,
    -- The last verdict against it, or why it is not collected.
    reason text,
    sequence text,
    request text,
    run_id bigint references billing_runs (id),
    ordered_on date,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint due_items_state_known check (state in ('waiting', 'missed', 'ordered', 'skipped', 'waived')),
    constraint due_items_sequence_known check (sequence in ('OOFF', 'FRST', 'RCUR', 'FNAL')),
    constraint due_items_request_known check (request in ('sale', 'first', 'next')),
    constraint due_items_ordered_in_a_run check (
        (state = 'ordered') = (run_id is not null) and (state = 'ordered') = (ordered_on is not null)
    ),
    constraint due_items_collected_while_waiting check (collect_on is null or state = 'waiting')
);
-- The clock makes a due date once, with any number of workers.
create unique index due_items_once on due_items (schedule_id, due_on);
create index due_items_to_collect on due_items (collect_on, collection_plan_id, upload_id, due_item)
    where state = 'waiting' and collect_on is not null;
create index due_items_open on due_items (schedule_id) where state in ('waiting', 'missed');
create index due_items_missed on due_items (collection_plan_id, due_on) where state = 'missed';
create index due_items_by_plan on due_items (collection_plan_id, id);
create index due_items_by_run on due_items (run_id, debtor_id) where run_id is not null;
create index due_items_ordered on due_items (collection_plan_id, ordered_on) where ordered_on is not null;

-- What debtors are told before a debit, kept as proof; tether_core.recurring.pre_notification.
create table pre_notifications (
    id bigint generated always as identity primary key,
    account text not null,
    upload_id bigint not null references uploads (id),
    debtor_id bigint not null references debtors (id),
    due_item text not null,
    due_item_id bigint references due_items (id),
    due_on date not null,
    -- The last day on which it may be given without moving the debit.
    give_on date not null,
    -- Days that lie between giving and debit, at least.
    notice_days smallint not null,
    amount_minor bigint not null,
    currency text not null,
    text text not null,
    state text not null,
    -- The file or order by which it is given: claimed before anything is written.
    batch text,
    given_at timestamptz,
    given_by text,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint pre_notifications_state_known check (state in ('made', 'given', 'withdrawn')),
    constraint pre_notifications_given_by_somebody check (
        (state = 'given') = (given_at is not null) and (state = 'given') = (given_by is not null)
    )
);
create unique index pre_notifications_once on pre_notifications (debtor_id, due_item, due_on) where state <> 'withdrawn';
create index pre_notifications_to_give on pre_notifications (give_on, id) where state = 'made';
create index pre_notifications_batches on pre_notifications (batch, id) where state = 'made' and batch is not null;
create index pre_notifications_by_item on pre_notifications (due_item_id) where due_item_id is not null;
create index pre_notifications_by_upload on pre_notifications (upload_id, due_item, id);

-- The collection plan whose due items a run collects; null for a run that a person ordered.
alter table billing_runs add column collection_plan_id bigint references collection_plans (id);
