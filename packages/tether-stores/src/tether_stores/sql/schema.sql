-- The whole schema as it stands, for reading. Databases are built by migrations/; tests/schema compares both.
--
-- Times are timestamptz, amounts are whole minor units, states are text with a named CHECK that
-- tests/schema compares with the tables of tether_core. No default calls now(): time is an argument.

-- Uploaded files. Their life cycle: tether_core.uploads.upload and docs/concepts/intake.md. What is json here and not
-- jsonb holds headers and cells as they came, zero bytes among them.
create table uploads (
    id bigint generated always as identity primary key,
    object_key text not null,
    filename text not null,
    size_bytes bigint not null,
    sha256 bytea not null,
    state text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    content_key bytea,
    answers json not null default '{}',
    dry_run boolean not null default false,
    forced boolean not null default false,
    added_by text not null default '',
    plan json,
    preview json,
    position json,
    notes json not null default '[]',
    bytes_read bigint not null default 0,
    rows_read bigint not null default 0,
    stored bigint not null default 0,
    excluded bigint not null default 0,
    refused bigint not null default 0,
    skipped bigint not null default 0,
    warnings bigint not null default 0,
    amount_minor bigint not null default 0,
    verdict_counts json not null default '{}',
    problem_counts json not null default '{}',
    -- How many problems are stored, and how many are only counted: tether_core.uploads.problems.
    kept_problems json not null default '{}',
    failure_code text,
    failure text,
    lease text,
    due_at timestamptz,
    claims smallint not null default 0,
    started_at timestamptz,
    finished_at timestamptz,
    withdrawn_at timestamptz,
    withdrawn_by text,
    withdrawn_reason text,
    -- Questions of screening, by group; their answers; and when all rows were screened.
    repeats json not null default '[]',
    screening_answers json not null default '{}',
    screened_at timestamptz,
    -- When its last turn began, and how long it was read so far: tether_core.uploads.turns.
    turn_at timestamptz,
    read_s double precision not null default 0,
    -- When its file, and its problems, were removed because they were old.
    file_removed_at timestamptz,
    problems_removed_at timestamptz,
    constraint uploads_state_known check (
        state in ('received', 'examining', 'needs_answer', 'reading', 'completed', 'failed', 'withdrawn')
    ),
    constraint uploads_rows_add_up check (rows_read = stored + excluded + refused + skipped),
    constraint uploads_failed_for_a_reason check (
        (state <> 'failed' or failure_code is not null)
        and (state in ('failed', 'withdrawn') or failure_code is null)
        and (failure_code is null) = (failure is null)
    ),
    constraint uploads_withdrawn_for_a_reason check (
        (state = 'withdrawn') = (withdrawn_at is not null)
        and (withdrawn_at is null) = (withdrawn_by is null)
        and (withdrawn_at is null) = (withdrawn_reason is null)
    )
);
-- The same bytes with the same answers are one upload, also when several requests send them at once.
create unique index uploads_once on uploads (content_key, dry_run) where not forced;
create unique index uploads_object_once on uploads (object_key);
create index uploads_due on uploads (due_at, id) where due_at is not null;
-- The oldest and the smallest uploads of each sender that wait, and its last turn.
create index uploads_due_of_sender on uploads (added_by, due_at, id) where due_at is not null;
create index uploads_due_by_size on uploads (added_by, size_bytes, id) where due_at is not null;
create index uploads_turns on uploads (added_by, turn_at desc) where turn_at is not null;

create index uploads_with_file on uploads (created_at, id) where file_removed_at is null;
create index uploads_with_problems on uploads (created_at, id) where problems_removed_at is null;

-- Debtors: one row per row of an upload that could be read, with its screening result. The row of the
-- upload is written in the same transaction, so no constraint looks it up again for each debtor.
create table debtors (
    id bigint generated always as identity primary key,
    upload_id bigint,
    row_number integer,
    iban text not null,
    iban_fingerprint bytea not null,
    name text not null,
    amount_minor bigint not null,
    currency text not null,
    created_at timestamptz not null,
    first_name text,
    last_name text,
    bic text,
    mandate_id text,
    mandate_signed_on date,
    reference text,
    customer_id text,
    email text,
    phone text,
    street text,
    house_number text,
    postcode text,
    city text,
    province text,
    country text,
    description text,
    born_on date,
    national_id text,
    extra jsonb,
    verdict text not null default 'clear',
    cause text,
    -- Everything a row is excluded for; and where a person answered that it is to be collected, when it was screened.
    reasons jsonb,
    taken_at timestamptz,
    -- The bank: eight characters of the BIC of the row, else of the bank code in its IBAN (tether_stores.banks).
    bank_bic text,
    -- When its personal data was erased: tether_core.erasures.
    erased_at timestamptz,
    -- The mandate without what may differ in how it is written: tether_core.mandate_conflicts. Null where `mandate_key` makes it.
    mandate_plain text,
    constraint debtors_erased_without_account check (erased_at is null or iban = ''),
    constraint debtors_amount_positive check (amount_minor > 0),
    constraint debtors_currency_form check (currency ~ '^[A-Z]{3}$'),
    constraint debtors_verdict_known check (
        verdict in (
            'clear', 'duplicate_in_file', 'blacklisted', 'chargebacked_before', 'already_collected', 'waiting_elsewhere',
            'recently_attempted', 'blacklisted_name', 'blacklisted_email', 'identity_unclear', 'collected_lately',
            'reference_again', 'blacklisted_bank'
        )
    ),
    constraint debtors_excluded_for_a_cause check ((verdict = 'clear') = (cause is null))
);
create index debtors_by_fingerprint on debtors (iban_fingerprint);
create index debtors_by_upload on debtors (upload_id, id);
create index debtors_excluded on debtors (upload_id, row_number) where verdict <> 'clear';
create index debtors_by_verdict on debtors (verdict, id) where verdict <> 'clear';
-- Debtors for people: by words of the name, by reference, by the last four characters of the IBAN.
create index debtors_by_name on debtors using gin (to_tsvector('simple', name));
create index debtors_by_reference on debtors (reference, id) where reference is not null;
create index debtors_by_iban_tail on debtors ("right"(iban, 4));

-- What a mandate is compared by: tether_core.mandate_conflicts decides, this finds the rows to look at.
create function mandate_key(mandate_id text) returns bigint
language sql immutable parallel safe
return hashtextextended(
    trim(
        both '-' from case
            when mandate_id ~ '^[0-9][0-9., '']*[.,]00?$' then regexp_replace(
                regexp_replace(regexp_replace(mandate_id, '[.,]00?$', ''), '[^0-9]+', '-', 'g'),
                '(^|[^0-9])0+(?=[0-9])', '\1', 'g'
            )
            -- One pass where no zeros lead a number at the start or behind a letter.
            when lower(mandate_id) ~ '(^|[a-z])0+[0-9]' then regexp_replace(
                regexp_replace(lower(mandate_id), '[^a-z0-9]+', '-', 'g'), '(^|[^0-9])0+(?=[0-9])', '\1', 'g'
            )
            else regexp_replace(lower(mandate_id), '[^a-z0-9]+(0+(?=[0-9]))?', '-', 'g')
        end
    ),
    0
);

create index debtors_by_mandate_plain on debtors (
    coalesce(hashtextextended(mandate_plain, 0), mandate_key(mandate_id))
) where mandate_id is not null;

-- A mandate that is changed or erased has no plain form until somebody writes it.
create function forget_mandate_plain() returns trigger language plpgsql as $$
begin
    new.mandate_plain = null;
    return new;
end
$$;
create trigger debtors_mandate_changed before update of mandate_id on debtors
for each row when (new.mandate_id is distinct from old.mandate_id) execute function forget_mandate_plain();

-- What people changed of debtors; tether_core.debtor_edits.
create table debtor_edits (
    id bigint generated always as identity primary key,
    debtor_id bigint not null references debtors (id),
    version integer not null,
    -- Field, former and new value for people, account numbers masked; tether_core.debtor_edits.Change.
    changes json not null,
    reason text not null,
    verdict_before text not null,
    verdict_after text not null,
    -- The former account where it changed: debits and blacklist entries of before are found by its fingerprint.
    iban_before text,
    iban_fingerprint_before bytea,
    edited_by text not null,
    edited_at timestamptz not null,
    constraint debtor_edits_version_positive check (version > 0),
    constraint debtor_edits_account_with_fingerprint check ((iban_before is null) = (iban_fingerprint_before is null))
);
-- Two edits of one version: the second finds the first.
create unique index debtor_edits_once on debtor_edits (debtor_id, version);
create index debtor_edits_by_fingerprint on debtor_edits (iban_fingerprint_before) where iban_fingerprint_before is not null;

-- Problems of rows that became no debtors, and warnings about those that did.
create table problems (
    upload_id bigint not null,
    row_number integer not null,
    ordinal smallint not null,
    level text not null,
    column_name text not null,
    code text not null,
    excerpt text not null,
    note text not null,
    cells json,
    primary key (upload_id, row_number, ordinal),
    constraint problems_level_known check (level in ('error', 'warning'))
);

-- The rows of a dry run, until it is over: a dry run stores no debtors.
create table dry_run_rows (
    upload_id bigint not null,
    iban_fingerprint bytea not null,
    row_number integer not null,
    reference text,
    mandate_id text,
    customer_id text,
    amount_minor bigint,
    verdict text not null default 'clear',
    reasons jsonb
);
create index dry_run_rows_by_fingerprint on dry_run_rows (upload_id, iban_fingerprint);

-- Answers about the rows of a file, kept for files of the same layout until a person deletes them.
create table layout_answers (
    id bigint generated always as identity primary key,
    layout bytea not null,
    subject text not null,
    answer text not null,
    -- How long ago the latest of the imported debits was: the answer does not hold for debits that are more recent.
    days_min integer not null,
    upload_id bigint not null,
    answered_by text not null,
    answered_at timestamptz not null,
    forgotten_at timestamptz,
    forgotten_by text,
    constraint layout_answers_subject_known check (subject in ('collected_before', 'identity_unclear')),
    constraint layout_answers_answer_known check (answer in ('take', 'exclude')),
    constraint layout_answers_forgotten_by_someone check ((forgotten_at is null) = (forgotten_by is null))
);
create unique index layout_answers_once on layout_answers (layout, subject) where forgotten_at is null;

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

-- A run collects one due item from the debtors of an upload; its life cycle: tether_core.billing.run.
create table billing_runs (
    id bigint generated always as identity primary key,
    upload_id bigint not null references uploads (id),
    account text not null,
    due_item text not null,
    state text not null,
    options bytea not null,
    planned_to bigint not null default 0,
    planned_count integer not null default 0,
    planned_amount_minor bigint not null default 0,
    skipped bytea not null,
    warning text,
    pause_reason text,
    paused_from text,
    released_share double precision not null default 0,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    finished_at timestamptz,
    -- Whether the same due item was ordered again, and which verdicts a person has set aside; tether_core.billing.overrides.
    again boolean not null default false,
    overrides bytea not null default '[]',
    -- Dual control: who answers for the order, whether it waits for a second person, and who that was; tether_core.billing.dual_control.
    owner text not null default '',
    awaits_release boolean not null default false,
    released_by text,
    -- The collection plan whose due items a run collects; null for a run that a person ordered.
    collection_plan_id bigint references collection_plans (id),
    constraint billing_runs_awaits_release_while_paused check (not awaits_release or state = 'paused'),
    constraint billing_runs_state_known check (
        state in ('planning', 'canary', 'running', 'paused', 'finished', 'cancelled')
    ),
    constraint billing_runs_paused_for_a_reason check (
        (state = 'paused') = (pause_reason is not null) and (state = 'paused') = (paused_from is not null)
    ),
    constraint billing_runs_paused_from_known check (paused_from in ('planning', 'canary', 'running')),
    constraint billing_runs_finished_at_a_timestamp check ((state in ('finished', 'cancelled')) = (finished_at is not null))
);
create index billing_runs_by_upload on billing_runs (upload_id, id);
create index billing_runs_by_account on billing_runs (account, id);
-- The run that collects a due item of a collection plan from an upload; the plan's lock keeps it the only one.
create index billing_runs_of_plan on billing_runs (collection_plan_id, upload_id, due_item)
    where collection_plan_id is not null;
-- What one person ordered lately, for dual control.
create index billing_runs_by_owner on billing_runs (owner, created_at) where collection_plan_id is null;
create index billing_runs_live on billing_runs (id) where state in ('planning', 'canary', 'running');

-- How the gateway has answered to each run, counted as the answers are recorded; tether_core.billing.auto_pause. Written by transactions that
-- hold attempts of the run, which is never deleted, so nothing checks it.
create table billing_run_counts (
    run_id bigint primary key,
    answered integer not null default 0,
    refused integer not null default 0,
    canaries_answered integer not null default 0,
    canaries_refused integer not null default 0,
    refused_at timestamptz,
    -- The release by a person: counts, when, who and why; refusals are counted from there.
    released_answered integer not null default 0,
    released_refused integer not null default 0,
    released_at timestamptz,
    released_by text,
    released_reason text,
    -- When the first debit was answered: refusals of small runs count for a day from there.
    first_answered_at timestamptz,
    -- Whether a person has accepted the small runs before it, so that they do not pause it.
    small_runs_accepted boolean not null default false,
    constraint billing_run_counts_released_by_someone check (
        (released_at is null) = (released_by is null) and (released_at is null) = (released_reason is null)
    )
);
create index billing_run_counts_by_first_answer on billing_run_counts (first_answered_at) where first_answered_at is not null;

-- The results of orders by the Idempotency-Key of their request; tether_core.order_keys.
create table order_keys (
    holder text not null,
    key text not null,
    request bytea not null,
    status smallint not null,
    location text not null,
    body bytea not null,
    created_at timestamptz not null,
    primary key (holder, key)
);
create index order_keys_by_age on order_keys (created_at);

-- One try to collect one amount. The stages are those of tether_core.payments.attempt; the state is derived from them.
create table billing_attempts (
    id bigint generated always as identity primary key,
    account text not null,
    debtor_id bigint not null references debtors (id),
    transaction_id text not null,
    unique_id text,
    amount_minor bigint not null,
    currency text not null,
    state text not null,
    payment_stage smallint not null,
    dispute_stage smallint not null,
    error_code text,
    reason_code text,
    iban_fingerprint bytea not null,
    iban_masked text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- The due item, the number of the try, and the run that made it.
    run_id bigint references billing_runs (id),
    due_item text,
    try_number smallint,
    retry_of bigint references billing_attempts (id),
    -- Its way to the gateway: ready from a time on, or leased by a worker; how often it was begun.
    canary boolean not null default false,
    submit_at timestamptz,
    leased_until timestamptz,
    submitted_at timestamptz,
    submission_count smallint not null default 0,
    -- Of these, calls that cost no try: nothing was submitted, or the gateway wanted fewer requests.
    submissions_uncounted smallint not null default 0,
    not_submitted_reason text,
    -- Status inquiries: responses without a final result, and when the next one is due.
    inquiry_count smallint not null default 0,
    inquire_at timestamptz,
    -- After a return: when it was handled, the result, and the day on which the same debit may be tried again.
    return_handled_at timestamptz,
    retry_on date,
    retry_why text,
    -- Whether the next try was made.
    is_retried boolean not null default false,
    -- The gateway identities that its calls went to; the first answers "not found" since the latest call; why the latest
    -- inquiry did not resolve an unknown outcome. See tether_core.payments.gateway_identity and tether_core.payments.not_found.
    submitted_to text[],
    not_found jsonb,
    unresolved_reason text,
    -- The UTC days on which it was recorded as collected, returned and refunded, and the debtor's bank then; written by the
    -- triggers billing_attempts_dated_insert and billing_attempts_dated_update.
    collected_on date,
    returned_on date,
    refunded_on date,
    bank_bic text,
    -- The version of the return policy by which its return was handled.
    return_policy_version integer,
    constraint billing_attempts_transaction_once unique (transaction_id),
    constraint billing_attempts_unique_id_once unique (unique_id),
    constraint billing_attempts_amount_positive check (amount_minor > 0),
    constraint billing_attempts_state_known check (
        state in ('pending', 'unknown', 'approved', 'declined', 'error', 'voided', 'refunded', 'chargebacked')
    ),
    constraint billing_attempts_payment_stage_known check (payment_stage in (0, 10, 20, 30, 40, 50, 60, 70, 80)),
    constraint billing_attempts_dispute_stage_known check (dispute_stage in (0, 1, 2, 3)),
    constraint billing_attempts_owed_item check ((due_item is null) = (try_number is null)),
    constraint billing_attempts_ready_or_leased check (submit_at is null or leased_until is null),
    constraint billing_attempts_submitted_at_a_timestamp check (submission_count = 0 or submitted_at is not null),
    constraint billing_attempts_uncounted_of_submissions check (submissions_uncounted between 0 and submission_count),
    constraint billing_attempts_retry_has_cause check ((return_handled_at is null) = (retry_why is null)),
    constraint billing_attempts_retry_why_known check (
        retry_why in ('retry', 'reason', 'listed', 'tried enough', 'too late', 'no room')
    ),
    constraint billing_attempts_retry_has_day check ((retry_on is not null) = (retry_why is not distinct from 'retry'))
);
create index billing_attempts_by_state on billing_attempts (state, id);
-- One row per try: however many runs plan the same debtors at once, one of them makes it. Also how a debtor's attempts are found.
create unique index billing_attempts_try_once on billing_attempts (debtor_id, due_item, try_number);
create index billing_attempts_by_fingerprint on billing_attempts (iban_fingerprint);
create index billing_attempts_by_run on billing_attempts (run_id, state);
-- Lists by a filter, newest first; tether_core.payments.filters.
create index billing_attempts_run_newest on billing_attempts (run_id, id);
create index billing_attempts_by_reason on billing_attempts (reason_code, id) where reason_code is not null;
create index billing_attempts_by_creation on billing_attempts (created_at, id);
create index billing_attempts_by_account on billing_attempts (account, id);
create index billing_attempts_charged_back on billing_attempts (reason_code, id)
include (currency, amount_minor, account) where state = 'chargebacked';
create index billing_attempts_charged_back_without_code on billing_attempts (id)
    where state = 'chargebacked' and reason_code is null;
create index billing_attempts_to_submit on billing_attempts (run_id, canary desc, submit_at, id) where submit_at is not null;
create index billing_attempts_leased on billing_attempts (leased_until) where leased_until is not null;
create index billing_attempts_first_inquiry on billing_attempts (payment_stage, updated_at)
    where inquire_at is null and dispute_stage = 0 and payment_stage in (10, 20, 30);
create index billing_attempts_next_inquiry on billing_attempts (payment_stage, inquire_at)
    where inquire_at is not null and dispute_stage = 0 and payment_stage in (10, 20, 30);
create index billing_attempts_returns_to_handle on billing_attempts (id)
    where return_handled_at is null and reason_code is not null and dispute_stage in (1, 3);
create index billing_attempts_by_retry on billing_attempts (retry_on) where retry_on is not null;
-- Where open debits were submitted to: accounts/gateway_identities.
create index billing_attempts_open_places on billing_attempts (account, submitted_to, submitted_at)
    where payment_stage in (10, 20, 30) and dispute_stage = 0 and submitted_to is not null;
-- Debits whose last status inquiry had no final result.
create index billing_attempts_beyond_inquiries on billing_attempts (id)
    where inquiry_count >= 10 and dispute_stage = 0 and payment_stage in (10, 20, 30);

-- Debits that may be submitted, are being submitted, or have an unknown outcome.
create index billing_attempts_open on billing_attempts (run_id, canary)
    where state in ('pending', 'unknown') and payment_stage <= 10 and dispute_stage = 0;
create index billing_attempts_unknown on billing_attempts (unresolved_reason, id) where payment_stage = 10;
create index billing_attempts_refunded_and_charged_back on billing_attempts (id)
    where payment_stage in (70, 80) and dispute_stage in (1, 3);
-- Debits that came back and are to be tried again, and the tries that were made.
create index billing_attempts_to_retry on billing_attempts (retry_on) where retry_on is not null and not is_retried;
create index billing_attempts_by_retried on billing_attempts (retry_of) where retry_of is not null;

-- Attempts that another system made, with the stages at which they began here; tether_core.payments.imported_debits.
create table imported_attempts (
    attempt_id bigint primary key references billing_attempts (id),
    payment_stage smallint not null,
    dispute_stage smallint not null,
    imported_at timestamptz not null,
    constraint imported_attempts_payment_stage_known check (payment_stage in (0, 10, 20, 30, 40, 50, 60, 70, 80)),
    constraint imported_attempts_dispute_stage_known check (dispute_stage in (0, 1, 2, 3))
);

-- Gateway identities of calls: a key for address, login and terminal, with a display name without secrets.
-- See tether_core.payments.gateway_identity.
create table gateway_identities (
    key text not null,
    account text not null,
    name text not null,
    first_used_at timestamptz not null,
    -- The last day on which it was configured; null where that was not looked at yet.
    last_known_on date,
    primary key (account, key),
    constraint gateway_identities_key_form check (key ~ '^[0-9a-f]{16}$')
);

-- refund, as refund or void; their life cycle: tether_core.refunds.refund.
create table refunds (
    id bigint generated always as identity primary key,
    attempt_id bigint not null references billing_attempts (id),
    kind text not null,
    number smallint not null,
    account text not null,
    transaction_id text not null,
    unique_id text,
    amount_minor bigint not null,
    currency text not null,
    usage text not null,
    state text not null,
    payment_stage smallint not null,
    error_code text,
    ordered_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- Its way to the gateway, as a debit's: ready from a time on, or leased by a worker; how often it was begun.
    submit_at timestamptz,
    leased_until timestamptz,
    submitted_at timestamptz,
    submission_count smallint not null default 0,
    -- Of these, calls that cost no try: nothing was submitted, or the gateway wanted fewer requests.
    submissions_uncounted smallint not null default 0,
    not_submitted_reason text,
    inquiry_count smallint not null default 0,
    inquire_at timestamptz,
    submitted_to text[],
    not_found jsonb,
    unresolved_reason text,
    constraint refunds_transaction_once unique (transaction_id),
    constraint refunds_unique_id_once unique (unique_id),
    constraint refunds_number_once unique (attempt_id, number),
    constraint refunds_amount_positive check (amount_minor > 0),
    constraint refunds_kind_known check (kind in ('refund', 'void')),
    constraint refunds_state_known check (
        state in ('pending', 'unknown', 'approved', 'declined', 'error', 'voided', 'refunded')
    ),
    constraint refunds_payment_stage_known check (payment_stage in (0, 10, 20, 30, 40, 50, 60, 70, 80)),
    constraint refunds_ready_or_leased check (submit_at is null or leased_until is null),
    constraint refunds_submitted_at_a_timestamp check (submission_count = 0 or submitted_at is not null),
    constraint refunds_uncounted_of_submissions check (submissions_uncounted between 0 and submission_count)
);
-- A debit is refunded at most once: an order that may still return its money excludes all others. What the gateway has approved may be two orders,
-- where it approved one after all that had failed; no order is placed beside an approved one (refunds/refunds.sql).
create unique index refunds_one_active on refunds (attempt_id) where state in ('pending', 'unknown');
create index refunds_to_submit on refunds (submit_at) where submit_at is not null;
create index refunds_by_state on refunds (state, id);
create index refunds_by_account on refunds (account, id);
create index refunds_leased on refunds (leased_until) where leased_until is not null;
create index refunds_to_inquire on refunds (coalesce(inquire_at, updated_at)) where payment_stage in (10, 20, 30);
create index refunds_open_places on refunds (account, submitted_to, submitted_at)
    where payment_stage in (10, 20, 30) and submitted_to is not null;

-- Status inquiries that a person orders; tether_core.inquiry_orders.
create table inquiry_orders (
    id bigint generated always as identity primary key,
    scope text not null,
    subject_id bigint not null,
    ordered_by text not null,
    reason text not null,
    -- Whether debits were left for another order, because there are too many.
    more boolean not null,
    created_at timestamptz not null,
    constraint inquiry_orders_scope_known check (scope in ('attempt', 'run', 'upload'))
);
create index inquiry_orders_by_subject on inquiry_orders (scope, subject_id, id);

-- The debits of such an order.
create table inquiry_order_attempts (
    order_id bigint not null references inquiry_orders (id),
    attempt_id bigint not null references billing_attempts (id),
    state_before text not null,
    inquiry_count smallint not null default 0,
    -- When it is to be inquired, or the end of the lease; null once it was, or was given up.
    inquire_at timestamptz,
    expires_at timestamptz not null,
    is_inquired boolean not null default false,
    primary key (order_id, attempt_id)
);
create unique index inquiry_order_attempts_once on inquiry_order_attempts (attempt_id) where inquire_at is not null;
create index inquiry_order_attempts_due on inquiry_order_attempts (inquire_at) where inquire_at is not null;

-- Orders to void a whole billing run; tether_core.refunds.run_voids.
create table run_voids (
    id bigint generated always as identity primary key,
    run_id bigint not null references billing_runs (id),
    state text not null,
    usage text not null,
    reason text not null,
    ordered_by text not null,
    -- The last of the run's debits that was processed.
    position bigint not null default 0,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    finished_at timestamptz,
    constraint run_voids_state_known check (state in ('working', 'finished')),
    constraint run_voids_finished_at_a_timestamp check ((state = 'finished') = (finished_at is not null))
);
create unique index run_voids_one_working on run_voids (run_id) where state = 'working';
create index run_voids_by_run on run_voids (run_id, id);

-- The result for each debit of such a run.
create table run_void_debits (
    void_id bigint not null references run_voids (id),
    attempt_id bigint not null references billing_attempts (id),
    amount_minor bigint not null,
    -- The void of the debit, or why it has none.
    refund_id bigint references refunds (id),
    refused text,
    refused_reason text,
    primary key (void_id, attempt_id),
    constraint run_void_debits_ordered_or_refused check (num_nonnulls(refund_id, refused) = 1),
    constraint run_void_debits_refused_known check (
        refused in (
            'charged_back', 'earlier_day', 'held', 'money_back', 'not_submitted', 'nothing_collected', 'outcome_unknown',
            'refund_ordered', 'won_back'
        )
    ),
    constraint run_void_debits_refused_reason check ((refused is null) = (refused_reason is null))
);

-- The inbox: every verified notification, its raw bytes, and its result.
create table webhook_events (
    id bigint generated always as identity primary key,
    key bytea not null,
    content bytea not null,
    account text not null,
    kind text not null,
    notification_id text not null,
    status text not null,
    event text,
    source text not null,
    content_type text not null,
    body bytea not null,
    state text not null,
    outcome text,
    reason text,
    failures smallint not null,
    -- Of billing_attempts: written by the transaction that holds that row, which is never deleted, so nothing checks it again.
    attempt_id bigint,
    -- Of webhook_events; that row may be in an archive.
    conflicts_with bigint,
    confirmed_status text,
    confirmed_error_code text,
    confirmed_reason_code text,
    confirmed_at timestamptz,
    leased_until timestamptz,
    received_at timestamptz not null,
    next_at timestamptz,
    handled_at timestamptz,
    -- The day of the gateway's list that has this event, and the gateway's time of the payment, where stated.
    listed_on date,
    happened_at timestamptz,
    -- Its report class, which bounds the number of rows; "" for fetched records.
    report_class text not null default '',
    -- Our id of the payment, as the gateway confirmed it.
    confirmed_transaction_id text,
    -- The amount and currency of the payment's record, likewise.
    confirmed_amount_minor bigint,
    confirmed_currency text,
    -- How often the gateway contradicted it, and since when it is inquired again because of that.
    contradicted_count smallint not null default 0,
    first_contradicted_at timestamptz,
    last_contradicted_at timestamptz,
    inquiries_began_at timestamptz,
    -- Of relays, by which it first came, and the address of its sender; null for the plain route.
    relay_id bigint,
    sender text,
    constraint webhook_events_state_known check (
        state in ('waiting', 'confirming', 'processed', 'contradicted', 'parked', 'conflicting')
    ),
    constraint webhook_events_kind_known check (kind in ('payment', 'wpf', 'kyc', 'apm_event', 'other')),
    constraint webhook_events_contradicted_at_times check (
        (contradicted_count = 0) = (first_contradicted_at is null)
        and (contradicted_count = 0) = (last_contradicted_at is null)
    ),
    constraint webhook_events_source_known check (source in ('webhook', 'report')),
    constraint webhook_events_waiting_has_timestamp check (
        (state in ('waiting', 'confirming')) = (next_at is not null)
    ),
    constraint webhook_events_conflict_names_other check ((state = 'conflicting') = (conflicts_with is not null))
);
-- A notification is recorded once. Conflicting deliveries are stored once each.
create unique index webhook_events_once on webhook_events (key) where conflicts_with is null;
create unique index webhook_events_conflict_once on webhook_events (key, content) where conflicts_with is not null;
create index webhook_events_due on webhook_events (next_at, id) where state = 'waiting';
create index webhook_events_by_relay on webhook_events (relay_id, id) where relay_id is not null;
create index webhook_events_to_confirm on webhook_events (next_at, id) where state = 'confirming';
create index webhook_events_by_notification on webhook_events (notification_id);
-- Disputes that hold money until they are processed; few, so looking for them costs little (tether_core.holds).
create index webhook_events_unprocessed_disputes on webhook_events (notification_id)
    where state in ('waiting', 'confirming', 'parked')
        and (
            event in ('chargeback', 'second_chargeback', 'representment_reversal')
            or (event is null and status in ('chargebacked', 'second_chargebacked', 'representment_reversed'))
        );
create index webhook_events_for_people on webhook_events (state, id) where state in ('parked', 'conflicting');
create index webhook_events_by_listing on webhook_events (listed_on) where listed_on is not null;
create index webhook_events_contradicted on webhook_events (id) where state = 'contradicted';
create index webhook_events_identity_checks on webhook_events (account, received_at) where kind = 'kyc';

-- Deliveries beyond what is kept: counted at the row that represents them.
create table excess_deliveries (
    -- Of webhook_events: a count must not wait for the transaction that holds that row; both are deleted together.
    webhook_event_id bigint primary key,
    deliveries bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    announced_at timestamptz,
    constraint excess_deliveries_counted check (deliveries > 0)
);
create index excess_deliveries_unannounced on excess_deliveries (first_at) where announced_at is null;

-- Notifications whose signature no password verifies, sealed and bounded: tether_core.notifications.quarantine.
create table quarantined_notifications (
    id bigint generated always as identity primary key,
    -- Of the body, as received.
    digest bytea not null,
    -- The account whose terminal it names, '' for none. Nothing that a row says is verified.
    account text not null,
    notification_id text not null,
    report_class text not null,
    -- The debit that it names, in billing_attempts; null for an unknown one.
    attempt_id bigint,
    -- Body and media type, encrypted under TETHER_SECRETS_KEY.
    sealed bytea not null,
    size_bytes integer not null,
    sender text,
    deliveries bigint not null,
    received_at timestamptz not null,
    last_received_at timestamptz not null,
    -- Of relays, by which it came; null for the plain route.
    relay_id bigint,
    constraint quarantined_notifications_size_bounded check (size_bytes between 0 and 65536),
    constraint quarantined_notifications_delivered check (deliveries >= 1)
);
create unique index quarantined_notifications_once on quarantined_notifications (digest);
create index quarantined_notifications_in_order on quarantined_notifications (received_at, id);
create index quarantined_notifications_by_debit on quarantined_notifications (attempt_id) where attempt_id is not null;
create index quarantined_notifications_by_room on quarantined_notifications (account, (attempt_id is not null)) include (size_bytes, received_at);

-- Further addresses for notifications, each of one gateway account; tether_core.notifications.relays.
create table relays (
    id bigint generated always as identity primary key,
    name text not null,
    account text not null,
    -- Of the token.
    digest bytea not null,
    created_by text not null,
    created_at timestamptz not null,
    revoked_by text,
    revoked_at timestamptz,
    constraint relays_digest_size check (octet_length(digest) = 32),
    constraint relays_revoked_by_somebody check ((revoked_by is null) = (revoked_at is null))
);
create unique index relays_digest_once on relays (digest);
create unique index relays_name_once on relays (name) where revoked_at is null;

-- Which password verified how many notifications on a day: tether_core.notifications.password_uses.
create table password_uses (
    account text not null,
    -- Of the password; tether_core.emp.signature.password_tag.
    tag text not null,
    used_on date not null,
    live bigint not null,
    reverified bigint not null,
    primary key (used_on, account, tag)
);

-- IBANs that must not be debited, matched by fingerprint; and names and e-mail addresses, by a plain form. An entry is
-- about one of the three. It is lifted, never deleted.
create table blacklist (
    id bigint generated always as identity primary key,
    iban_fingerprint bytea,
    iban_masked text,
    action text not null,
    scope text not null,
    reason_code text not null,
    note text not null,
    source text not null,
    added_by text not null,
    -- Of webhook_events, as attempt_id there; it may be in an archive.
    webhook_event_id bigint,
    attempt_id bigint references billing_attempts (id),
    created_at timestamptz not null,
    expires_at timestamptz,
    lifted_at timestamptz,
    lifted_by text,
    lifted_reason text,
    name text,
    name_key text,
    email text,
    -- What lifting it forgives besides the entry; null for entries lifted before this was stored.
    forgives text,
    -- The banks that it is about, as tether_core.banks writes them.
    bic text,
    -- The version of the return policy that decided; null where a person did.
    policy_version integer,
    constraint blacklist_action_known check (action in ('hold', 'block')),
    constraint blacklist_scope_known check (scope in ('iban', 'mandate', 'name', 'email', 'bank')),
    constraint blacklist_source_known check (source in ('chargeback', 'manual', 'import', 'automatic')),
    constraint blacklist_lifted_by_someone check ((lifted_at is null) = (lifted_by is null)),
    constraint blacklist_about_one check (num_nonnulls(iban_fingerprint, name_key, email, bic) = 1),
    constraint blacklist_shown check (
        (iban_fingerprint is null) = (iban_masked is null) and (name_key is null) = (name is null)
    ),
    constraint blacklist_forgives_known check (forgives in ('entry', 'disputes', 'account')),
    constraint blacklist_forgives_when_lifted check (forgives is null or lifted_at is not null)
);
-- One active entry per IBAN and reason, also after repeated deliveries; likewise per name and per address.
create unique index blacklist_once on blacklist (iban_fingerprint, reason_code) where lifted_at is null;
create unique index blacklist_name_once on blacklist (name_key, reason_code)
where lifted_at is null and name_key is not null;
create unique index blacklist_email_once on blacklist (email, reason_code)
where lifted_at is null and email is not null;
create unique index blacklist_bank_once on blacklist (bic, reason_code) where lifted_at is null and bic is not null;
-- All entries about something, active or not.
create index blacklist_by_iban on blacklist (iban_fingerprint, reason_code) where iban_fingerprint is not null;
create index blacklist_by_name on blacklist (name_key, reason_code) where name_key is not null;
create index blacklist_by_email on blacklist (email, reason_code) where email is not null;
create index blacklist_by_bank on blacklist (bic, reason_code) where bic is not null;
-- Entries for people, by each combination of filters.
create index blacklist_for_people on blacklist (
    action, source, (case when lifted_at is not null then 'lifted' when expires_at is not null then 'ends' else 'stays' end), id
);
create index blacklist_for_people_by_reason on blacklist (
    reason_code, action, source, (case when lifted_at is not null then 'lifted' when expires_at is not null then 'ends' else 'stays' end), id
);

-- The disputes of an entry: a dispute makes an entry once, however often it is reported.
create table blacklist_disputes (
    blacklist_id bigint not null references blacklist (id),
    attempt_id bigint not null references billing_attempts (id),
    dispute_stage smallint not null,
    -- The gateway's own id of the dispute, '' where none came.
    dispute_id text not null default '',
    primary key (attempt_id, dispute_stage, dispute_id, blacklist_id),
    constraint blacklist_disputes_dispute_stage_known check (dispute_stage in (1, 3))
);
create index blacklist_disputes_by_entry on blacklist_disputes (blacklist_id);

-- Chargebacks that a person has forgiven by lifting an entry: they no longer exclude the account.
create table forgiven_disputes (
    attempt_id bigint not null references billing_attempts (id),
    dispute_stage smallint not null,
    blacklist_id bigint references blacklist (id),
    forgiven_at timestamptz not null,
    forgiven_by text not null,
    reason text not null,
    primary key (attempt_id, dispute_stage),
    constraint forgiven_disputes_dispute_stage_known check (dispute_stage in (1, 3))
);

-- The key that the fingerprints of this database are made with, by a check value; one row.
create table fingerprint_key (
    single boolean primary key default true,
    check_value bytea not null,
    recorded_at timestamptz not null,
    constraint fingerprint_key_one_row check (single)
);

-- Rekeyings, which recompute all fingerprints with another key: who, when and why, progress, and counts.
create table fingerprint_rekeyings (
    id bigint generated always as identity primary key,
    check_before bytea,
    check_after bytea not null,
    ordered_by text not null,
    reason text not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    superseded_at timestamptz,
    debtor_position bigint not null default 0,
    debtors bigint not null default 0,
    attempts bigint not null default 0,
    entries bigint not null default 0,
    constraint fingerprint_rekeyings_ended_once check (finished_at is null or superseded_at is null)
);
create unique index fingerprint_rekeyings_one_open on fingerprint_rekeyings ((true))
where finished_at is null and superseded_at is null;

-- Blacklist entries that a rekeying could not change, because no debtor has their account.
create table fingerprint_rekeying_unmatched (
    rekeying_id bigint not null references fingerprint_rekeyings (id),
    blacklist_id bigint not null references blacklist (id),
    primary key (rekeying_id, blacklist_id)
);

-- Events for other systems, written in the transaction of the change they report, delivered in order.
create table outbox (
    id bigint generated always as identity primary key,
    name text not null,
    version smallint not null,
    payload bytea not null,
    -- Of webhook_events, as attempt_id there.
    webhook_event_id bigint,
    occurred_at timestamptz not null
);

-- A tick of a periodic task: the worker that inserts it runs the task, so it is done once with any number of workers.
create table ticks (
    periodic_task text not null,
    tick_at timestamptz not null,
    taken_at timestamptz not null,
    primary key (periodic_task, tick_at)
);

-- The reading of one list of one day; repeated while the list may still change.
create table report_fetches (
    account text not null,
    list text not null,
    day_on date not null,
    -- When it was last requested, and when it is to be read or continued; null while no reading is due.
    wanted_at timestamptz not null,
    due_at timestamptz,
    leased_until timestamptz,
    failures smallint not null default 0,
    -- The reading under way: which terminal, which page comes next, and what it has found so far.
    began_at timestamptz,
    terminal smallint not null default 0,
    page integer not null default 1,
    listed_so_far integer not null default 0,
    held_so_far integer not null default 0,
    unread_so_far integer not null default 0,
    -- The last reading to the end: when it began and what it found.
    read_at timestamptz,
    listed integer not null default 0,
    held integer not null default 0,
    unread integer not null default 0,
    primary key (account, list, day_on),
    constraint report_fetches_list_known check (list in ('transactions', 'chargebacks', 'imports')),
    constraint report_fetches_counts_whole check (
        failures >= 0 and terminal >= 0 and page >= 1 and listed_so_far >= 0 and held_so_far >= 0
        and unread_so_far >= 0 and listed >= 0 and held >= 0 and unread >= 0
    )
);
create index report_fetches_due on report_fetches (due_at) where due_at is not null;
create index report_fetches_by_day on report_fetches (day_on);

-- The check of a debtor's account before it is billed; see tether_core.vop.
create table vop_checks (
    debtor_id bigint primary key references debtors (id) on delete cascade,
    state text not null,
    failures smallint not null default 0,
    next_at timestamptz,
    leased_until timestamptz,
    provider text,
    iban_answer text,
    bank_answer text,
    debit_answer text,
    country_answer text,
    name_answer text,
    name_percent smallint,
    bank_name text,
    bic text,
    score smallint,
    answered smallint,
    result text,
    requested_at timestamptz not null,
    checked_at timestamptz,
    -- The gateway account whose budget pays for it.
    account text not null default 'default',
    -- Whether no earlier answer may be taken over.
    is_fresh boolean not null default false,
    -- The debtor whose answers were taken over.
    reused_from bigint,
    constraint vop_checks_state_known check (state in ('waiting', 'checked', 'parked')),
    constraint vop_checks_waiting_has_timestamp check ((state = 'waiting') = (next_at is not null)),
    constraint vop_checks_checked_has_result check ((state = 'checked') <= (result is not null and score is not null)),
    constraint vop_checks_result_known check (
        result in ('verified', 'likely_verified', 'inconclusive', 'mismatch', 'rejected')
    ),
    constraint vop_checks_score_in_percent check (score between 0 and 100 and answered between 0 and 100)
);
create index vop_checks_due on vop_checks (next_at) where state = 'waiting';
create index vop_checks_by_state on vop_checks (state, debtor_id);
create index vop_checks_by_result on vop_checks (result, debtor_id) where result is not null;

-- Files of accounts and names that are checked without becoming debtors; tether_core.check_files.
create table check_files (
    id bigint generated always as identity primary key,
    account text not null,
    row_count integer not null,
    created_by text not null,
    created_at timestamptz not null,
    constraint check_files_has_rows check (row_count >= 1)
);

create table check_file_rows (
    id bigint generated always as identity primary key,
    file_id bigint not null references check_files (id) on delete cascade,
    row_number integer not null,
    iban text not null,
    name text not null,
    bank_bic text,
    state text not null,
    failures smallint not null default 0,
    next_at timestamptz,
    leased_until timestamptz,
    provider text,
    -- The debtor whose answers were taken over.
    reused_from bigint,
    name_answer text,
    name_percent smallint,
    bank_name text,
    bic text,
    score smallint,
    answered smallint,
    result text,
    checked_at timestamptz,
    constraint check_file_rows_state_known check (state in ('waiting', 'checked', 'parked')),
    constraint check_file_rows_waiting_has_timestamp check ((state = 'waiting') = (next_at is not null)),
    constraint check_file_rows_checked_has_result check ((state = 'checked') <= (result is not null and score is not null))
);
create index check_file_rows_due on check_file_rows (next_at, id) where state = 'waiting';
create unique index check_file_rows_once on check_file_rows (file_id, row_number);
create index check_file_rows_by_iban on check_file_rows (iban);

-- Calls of the provider, by gateway account and day.
create table vop_uses (
    account text not null,
    used_on date not null,
    calls integer not null,
    primary key (account, used_on),
    constraint vop_uses_calls_whole check (calls >= 0)
);

-- Banks whose names the provider was asked about, and until when it is not asked about a bank that does not answer.
create table vop_banks (
    bank text primary key,
    unanswered_in_row integer not null,
    asked_at timestamptz not null,
    rest_until timestamptz,
    constraint vop_banks_unanswered_whole check (unanswered_in_row >= 0)
);

-- Gateway accounts beside the one of the environment; what is secret is encrypted (tether_stores.accounts.gateway_accounts).
create table gateway_accounts (
    name text primary key,
    sealed bytea not null,
    api_url text not null,
    billing_per_s double precision,
    reconciliation_per_s double precision,
    debit_max_minor bigint,
    day_count_max integer,
    day_amount_max_minor bigint,
    enabled boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    -- The character set of names and texts to the gateway; null for EMP_CHARACTERS.
    characters text constraint gateway_accounts_characters_known check (characters in ('latin', 'sepa')),
    -- The account that had this login or address before; null for an account of its own.
    former_of text constraint gateway_accounts_former_disabled check (former_of is null or not enabled),
    -- "default" is the account of the environment.
    constraint gateway_accounts_name_form check (name ~ '^[a-z0-9][a-z0-9_-]{0,31}$' and name <> 'default'),
    constraint gateway_accounts_limits_positive check (
        billing_per_s > 0 and reconciliation_per_s > 0 and debit_max_minor > 0
        and day_count_max > 0 and day_amount_max_minor > 0
    )
);

-- Submissions of an account on a day; only for accounts with a limit per day.
create table gateway_account_days (
    account text not null references gateway_accounts (name) on delete cascade,
    day_on date not null,
    count integer not null,
    amount_minor bigint not null,
    primary key (account, day_on)
);

-- Epochs of the database, from its first use or from one loss of its latest history to the next; tether_core.database_epoch.
create table database_epochs (
    number integer primary key,
    token text not null,
    -- The same for all copies of one database; it names the place of the marks.
    installation text not null,
    reason text not null,
    system_id text,
    timeline integer,
    -- How often a worker has compared and gone on, and when it last did.
    pulse bigint not null,
    pulse_at timestamptz not null,
    began_at timestamptz not null,
    ended_at timestamptz,
    -- When the database before it was current for the last time, as far as its rows say.
    lost_since_at timestamptz,
    -- The last rows that were made before it.
    attempts_to bigint not null,
    orders_to bigint not null,
    debtors_to bigint not null,
    -- How far submissions were made inquiries, how many, and when that was done; nothing is claimed before.
    attempts_reviewed_to bigint not null,
    orders_reviewed_to bigint not null,
    submissions integer not null,
    reviewed_at timestamptz,
    lists_wanted_at timestamptz,
    constraint database_epochs_token_once unique (token),
    constraint database_epochs_reason_known check (
        reason in ('first', 'other system', 'other timeline', 'epoch lost', 'position behind')
    ),
    constraint database_epochs_first_lost_nothing check ((reason = 'first') = (lost_since_at is null))
);
-- One epoch at a time: of two processes that notice the same loss, one begins the next epoch.
create unique index database_epochs_one_current on database_epochs ((true)) where ended_at is null;

-- Differences between the gateway's records and ours, as one list (tether_core.reconciliation.differences). A line is open once per debit,
-- kind and subject; it is resolved by the
-- facts, or acknowledged by a person, and never deleted.
create table reconciliation_differences (
    id bigint generated always as identity primary key,
    kind text not null,
    attempt_id bigint not null references billing_attempts (id),
    subject text not null,
    other_attempt_id bigint references billing_attempts (id),
    refund_id bigint references refunds (id),
    run_id bigint references billing_runs (id),
    ours text not null,
    theirs text not null,
    holds_refunds boolean not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    resolved_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    acknowledged_reason text,
    constraint reconciliation_differences_kind_known check (
        kind in (
            'collected_twice', 'state_differs', 'charged_back_again', 'refund_failed_later', 'amount_differs',
            'pending_too_long', 'returned_twice', 'unreachable_identity', 'statement_contradicted'
        )
    ),
    constraint reconciliation_differences_acknowledged_by_someone check (
        (acknowledged_at is null) = (acknowledged_by is null)
        and (acknowledged_at is null) = (acknowledged_reason is null)
    )
);
create unique index reconciliation_differences_once on reconciliation_differences (attempt_id, kind, subject)
    where resolved_at is null;
create index reconciliation_differences_open on reconciliation_differences (id)
    where resolved_at is null and acknowledged_at is null;
create index reconciliation_differences_by_attempt on reconciliation_differences (attempt_id, id);
create index reconciliation_differences_of_other on reconciliation_differences (other_attempt_id, id)
    where other_attempt_id is not null;
create index reconciliation_differences_by_kind on reconciliation_differences (kind, id);
create index reconciliation_differences_by_run on reconciliation_differences (run_id)
    where resolved_at is null and acknowledged_at is null and run_id is not null;

-- How far the review of debits has come: along the outbox, and along the debits themselves.
create table reconciliation_reviews (
    name text primary key,
    position bigint not null,
    updated_at timestamptz not null
);

-- Refunds and voids of our debits that were made in the gateway's back office; life cycle: tether_core.reconciliation.gateway_refunds.
create table gateway_refunds (
    unique_id text primary key,
    attempt_id bigint not null references billing_attempts (id),
    account text not null,
    kind text not null,
    amount_minor bigint,
    currency text,
    state text not null,
    inquiries smallint not null default 0,
    inquire_at timestamptz,
    not_found_count smallint not null default 0,
    first_not_found_at timestamptz,
    first_seen_at timestamptz not null,
    updated_at timestamptz not null,
    constraint gateway_refunds_kind_known check (kind in ('refund', 'void')),
    constraint gateway_refunds_state_known check (
        state in ('reported', 'pending', 'approved', 'failed', 'contradicted')
    )
);
create index gateway_refunds_by_attempt on gateway_refunds (attempt_id);
create index gateway_refunds_to_inquire on gateway_refunds (inquire_at) where inquire_at is not null;

-- Counts of rows, so that large tables need not be read for them (tether_stores.row_counts). A transaction that changes rows writes what that
-- changes of the counts, in the same transaction and as rows of its own, so that no two writers wait for each other; the worker adds
-- these changes to the counts from time to time. A count is the sum of both.
create table row_counts (
    subject text not null,
    word text not null,
    count bigint not null,
    amount bigint not null,
    primary key (subject, word)
);
create table row_count_changes (
    id bigint generated always as identity primary key,
    subject text not null,
    word text not null,
    count bigint not null,
    amount bigint not null
);
-- Of billing attempts, by the columns that billing counts; run_id is 0 for those of no run.
create table billing_attempt_counts (
    run_id bigint not null,
    account text not null,
    created_on date not null,
    state text not null,
    step text not null,
    canary boolean not null,
    is_collected boolean not null,
    is_charged_back boolean not null,
    reason_code text not null,
    count bigint not null,
    amount_minor bigint not null,
    primary key (run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code)
);
create index billing_attempt_counts_by_account on billing_attempt_counts (account, created_on) where is_collected;
create table billing_attempt_count_changes (
    id bigint generated always as identity primary key,
    run_id bigint not null,
    account text not null,
    created_on date not null,
    state text not null,
    step text not null,
    canary boolean not null,
    is_collected boolean not null,
    is_charged_back boolean not null,
    reason_code text not null,
    count bigint not null,
    amount_minor bigint not null
);

create function attempt_step(payment_stage smallint, dispute_stage smallint, leased_until timestamptz, submit_at timestamptz)
returns text language sql immutable as $$
    select case
        when payment_stage > 10 or dispute_stage > 0 then 'ended'
        when leased_until is not null then 'submitting'
        when submit_at is not null then 'ready'
        else 'unknown'
    end
$$;

create function count_billing_attempts() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into billing_attempt_count_changes (
            run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
        )
        select
            coalesce(run_id, 0), account, (created_at at time zone 'UTC')::date, state,
            attempt_step(payment_stage, dispute_stage, leased_until, submit_at), canary,
            payment_stage >= 60 or dispute_stage > 0, dispute_stage in (1, 3),
            case when payment_stage >= 60 or dispute_stage > 0 then coalesce(reason_code, '') else '' end,
            count(*), sum(amount_minor)
        from new_rows
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9;
    else
        insert into billing_attempt_count_changes (
            run_id, account, created_on, state, step, canary, is_collected, is_charged_back, reason_code, count, amount_minor
        )
        select
            coalesce(run_id, 0), account, (created_at at time zone 'UTC')::date, state,
            attempt_step(payment_stage, dispute_stage, leased_until, submit_at), canary,
            payment_stage >= 60 or dispute_stage > 0, dispute_stage in (1, 3),
            case when payment_stage >= 60 or dispute_stage > 0 then coalesce(reason_code, '') else '' end,
            sum(n), sum(n * amount_minor)
        from (
            select 1 as n, after.* from new_rows after
            union all
            select -1, before.* from old_rows before
        ) moved
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9
        having sum(n) <> 0 or sum(n * amount_minor) <> 0;
    end if;
    return null;
end
$$;
create trigger billing_attempts_counted_insert after insert on billing_attempts
referencing new table as new_rows for each statement execute function count_billing_attempts();
create trigger billing_attempts_counted_update after update on billing_attempts
referencing old table as old_rows new table as new_rows for each statement execute function count_billing_attempts();

create function count_refunds() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into row_count_changes (subject, word, count, amount)
        select 'refunds', state, count(*), sum(amount_minor) from new_rows group by state;
    else
        insert into row_count_changes (subject, word, count, amount)
        select 'refunds', state, sum(n), sum(n * amount_minor)
        from (
            select 1 as n, state, amount_minor from new_rows union all select -1, state, amount_minor from old_rows
        ) moved
        group by state
        having sum(n) <> 0 or sum(n * amount_minor) <> 0;
    end if;
    return null;
end
$$;
create trigger refunds_counted_insert after insert on refunds
referencing new table as new_rows for each statement execute function count_refunds();
create trigger refunds_counted_update after update on refunds
referencing old table as old_rows new table as new_rows for each statement execute function count_refunds();

-- Notifications are counted when they are processed: the unfinished ones are few, and have indexes of their own. So nothing is added to
-- what recording one costs.
create function count_webhook_events() returns trigger language plpgsql as $$
begin
    insert into row_count_changes (subject, word, count, amount)
    select 'webhook_events', 'processed', sum(n), 0
    from (
        select 1 as n from new_rows where state = 'processed' union all select -1 from old_rows where state = 'processed'
    ) moved
    having sum(n) <> 0;
    return null;
end
$$;
create trigger webhook_events_counted_update after update on webhook_events
referencing old table as old_rows new table as new_rows for each statement execute function count_webhook_events();

create function count_excess_deliveries() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into row_count_changes (subject, word, count, amount)
        select 'excess_deliveries', '', count(*), sum(deliveries) from new_rows having count(*) > 0;
    else
        insert into row_count_changes (subject, word, count, amount)
        select 'excess_deliveries', '', 0, sum(n * deliveries)
        from (select 1 as n, deliveries from new_rows union all select -1, deliveries from old_rows) moved
        having sum(n * deliveries) <> 0;
    end if;
    return null;
end
$$;
create trigger excess_deliveries_counted_insert after insert on excess_deliveries
referencing new table as new_rows for each statement execute function count_excess_deliveries();
create trigger excess_deliveries_counted_update after update on excess_deliveries
referencing old table as old_rows new table as new_rows for each statement execute function count_excess_deliveries();

-- Sums of the money of debits, for figures; the queries are in tether_stores/figures.sql, the words in tether_core.figures. They are
-- kept like the counts of rows: a trigger writes each change as a row, and a periodic task adds the changes to the sums.
create table figures (
    kind text not null,
    happened_on date not null,
    created_on date not null,
    submitted_on date not null,
    currency text not null,
    account text not null,
    run_id bigint not null,
    country text not null,
    bank_bic text not null,
    reason_code text not null,
    price_band bigint not null,
    count bigint not null,
    amount_minor bigint not null,
    primary key (
        created_on, run_id, kind, happened_on, submitted_on, currency, account, country, bank_bic, reason_code, price_band
    ),
    constraint figures_kind_known check (kind in ('collected', 'returned', 'refunded', 'refunded_and_returned'))
);
create index figures_by_happening on figures (happened_on);
create index figures_by_run on figures (run_id);
create index figures_by_submission on figures (submitted_on);
create index figures_returned on figures (account, reason_code, currency) include (count, amount_minor)
where kind = 'returned';
create table figure_changes (
    id bigint generated always as identity primary key,
    kind text not null,
    happened_on date not null,
    created_on date not null,
    submitted_on date not null,
    currency text not null,
    account text not null,
    run_id bigint not null,
    country text not null,
    bank_bic text not null,
    reason_code text not null,
    price_band bigint not null,
    count bigint not null,
    amount_minor bigint not null
);

-- The lower bound of the price band of an amount, in whole minor units; tether_core.figures.PRICE_BANDS.
create function price_band(amount_minor bigint) returns bigint language sql immutable parallel safe as $$
    select case
        when amount_minor >= 100000 then 100000
        when amount_minor >= 50000 then 50000
        when amount_minor >= 25000 then 25000
        when amount_minor >= 10000 then 10000
        when amount_minor >= 5000 then 5000
        when amount_minor >= 2500 then 2500
        when amount_minor >= 1000 then 1000
        else 0
    end::bigint
$$;

create function date_billing_attempt() returns trigger language plpgsql as $$
begin
    if new.collected_on is null then
        -- Of a debit of another system only the last change is dated: it counts as collected when it was made.
        new.collected_on = case when tg_op = 'INSERT' then new.created_at else new.updated_at end at time zone 'UTC';
    end if;
    if new.bank_bic is null then
        new.bank_bic = (select d.bank_bic from debtors d where d.id = new.debtor_id);
    end if;
    new.returned_on = case
        when new.dispute_stage in (1, 3) then coalesce(new.returned_on, (new.updated_at at time zone 'UTC')::date)
    end;
    new.refunded_on = case
        when new.payment_stage in (70, 80) then coalesce(new.refunded_on, (new.updated_at at time zone 'UTC')::date)
    end;
    return new;
end
$$;
create trigger billing_attempts_dated_insert before insert on billing_attempts
for each row when (new.payment_stage >= 60 or new.dispute_stage > 0) execute function date_billing_attempt();
create trigger billing_attempts_dated_update before update on billing_attempts
for each row when (
    (new.payment_stage >= 60 or new.dispute_stage > 0)
    and (new.payment_stage <> old.payment_stage or new.dispute_stage <> old.dispute_stage)
) execute function date_billing_attempt();

create function count_figures() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        insert into figure_changes (
            kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
            amount_minor
        )
        select
            moved.kind, moved.happened_on, (a.created_at at time zone 'UTC')::date,
            (coalesce(a.submitted_at, a.created_at) at time zone 'Europe/Berlin')::date, a.currency, a.account, coalesce(a.run_id, 0),
            left(a.iban_masked, 2), coalesce(a.bank_bic, ''), case when moved.has_reason then coalesce(a.reason_code, '') else '' end,
            price_band(a.amount_minor), count(*), sum(a.amount_minor)
        from new_rows a
        cross join lateral (
            values
                ('collected', a.collected_on, false), ('returned', a.returned_on, true), ('refunded', a.refunded_on, false),
                (
                    'refunded_and_returned',
                    case when a.returned_on is not null and a.refunded_on is not null then greatest(a.returned_on, a.refunded_on) end,
                    true
                )
        ) moved (kind, happened_on, has_reason)
        where a.collected_on is not null and moved.happened_on is not null
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    else
        insert into figure_changes (
            kind, happened_on, created_on, submitted_on, currency, account, run_id, country, bank_bic, reason_code, price_band, count,
            amount_minor
        )
        select
            moved.kind, moved.happened_on, (a.created_at at time zone 'UTC')::date,
            (coalesce(a.submitted_at, a.created_at) at time zone 'Europe/Berlin')::date, a.currency, a.account, coalesce(a.run_id, 0),
            left(a.iban_masked, 2), coalesce(a.bank_bic, ''), case when moved.has_reason then coalesce(a.reason_code, '') else '' end,
            price_band(a.amount_minor), sum(a.n), sum(a.n * a.amount_minor)
        from (
            select 1 as n, after.* from new_rows after where after.collected_on is not null
            union all
            select -1, before.* from old_rows before where before.collected_on is not null
        ) a
        cross join lateral (
            values
                ('collected', a.collected_on, false), ('returned', a.returned_on, true), ('refunded', a.refunded_on, false),
                (
                    'refunded_and_returned',
                    case when a.returned_on is not null and a.refunded_on is not null then greatest(a.returned_on, a.refunded_on) end,
                    true
                )
        ) moved (kind, happened_on, has_reason)
        where moved.happened_on is not null
        group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        having sum(a.n) <> 0 or sum(a.n * a.amount_minor) <> 0;
    end if;
    return null;
end
$$;
create trigger billing_attempts_figures_insert after insert on billing_attempts
referencing new table as new_rows for each statement execute function count_figures();
create trigger billing_attempts_figures_update after update on billing_attempts
referencing old table as old_rows new table as new_rows for each statement execute function count_figures();

-- Outcomes that people stated of submissions that cannot be inquired any more.
create table stated_outcomes (
    id bigint generated always as identity primary key,
    attempt_id bigint not null references billing_attempts (id),
    refund_id bigint references refunds (id),
    outcome text not null,
    unique_id text,
    reason text not null,
    stated_by text not null,
    stated_at timestamptz not null,
    constraint stated_outcomes_outcome_known check (outcome in ('approved', 'declined', 'never_arrived')),
    constraint stated_outcomes_approved_by_id check (outcome <> 'approved' or unique_id is not null)
);
create index stated_outcomes_by_attempt on stated_outcomes (attempt_id);

create index billing_attempts_unreachable on billing_attempts (id)
where payment_stage = 10 and unresolved_reason = 'not_found_elsewhere';
create index refunds_unreachable on refunds (attempt_id)
where payment_stage = 10 and unresolved_reason = 'not_found_elsewhere';

-- People who sign in to the console: tether_core.people.
create table users (
    id bigint generated always as identity primary key,
    name text not null,
    role text not null,
    -- The gateway accounts to which the user is limited; null for all.
    accounts text[],
    -- Argon2id.
    password_hash text,
    -- Whether another person has seen the password.
    is_temporary boolean not null default false,
    -- Encrypted under TETHER_SECRETS_KEY; and the time step of the last accepted code, which is accepted once.
    second_factor bytea,
    second_factor_step bigint,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    signed_in_at timestamptz,
    disabled_at timestamptz,
    -- The person at the identity provider, from the first sign-in there: tether_core.people.oidc.
    oidc_issuer text,
    oidc_subject text,
    constraint users_oidc_whole check ((oidc_issuer is null) = (oidc_subject is null)),
    constraint users_role_known check (role in ('viewer', 'operator', 'admin'))
);
create unique index users_once on users (name);
create unique index users_oidc_once on users (oidc_issuer, oidc_subject) where oidc_subject is not null;

-- Codes that replace the second factor, each once.
create table backup_codes (
    user_id bigint not null references users (id) on delete cascade,
    code_digest bytea not null,
    used_at timestamptz,
    primary key (user_id, code_digest)
);

-- Keys of programs; those of TETHER_API_KEYS are not rows.
create table api_keys (
    id bigint generated always as identity primary key,
    name text not null,
    key_digest bytea not null,
    role text not null,
    accounts text[],
    -- Who answers for it: the user who created it, as "user:7", or the key itself.
    owner text not null,
    created_by text not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    constraint api_keys_role_known check (role in ('viewer', 'operator', 'admin')),
    constraint api_keys_digest_is_sha256 check (octet_length(key_digest) = 32),
    constraint api_keys_revoked_by_someone check ((revoked_at is null) = (revoked_by is null))
);
create unique index api_keys_by_digest on api_keys (key_digest);
create unique index api_keys_name_once on api_keys (name) where revoked_at is null;

-- Failed sign-ins that are counted: tether_core.people.sign_in. Digests, so that a mistyped password in the field of the name stays nowhere.
create table sign_in_failures (
    counter text not null,
    subject_digest bytea not null,
    failures integer not null,
    failed_at timestamptz not null,
    primary key (counter, subject_digest),
    constraint sign_in_failures_counter_known check (counter in ('user_and_address', 'address', 'user'))
);
create index sign_in_failures_by_time on sign_in_failures (failed_at);

-- Who is signed in to the console; the queries are in tether_stores/sessions.sql.
create table sessions (
    token_digest bytea primary key,
    holder text not null,
    created_at timestamptz not null,
    last_used_at timestamptz not null,
    -- Of a person, or of a key of the database; neither for a key of the environment.
    user_id bigint references users (id) on delete cascade,
    api_key_id bigint references api_keys (id) on delete cascade,
    second_factor boolean not null default false,
    -- How many factors the identity provider checked; null for a session that it did not begin.
    provider_factors smallint,
    constraint sessions_digest_is_sha256 check (octet_length(token_digest) = 32),
    constraint sessions_provider_factors_one_or_two check (provider_factors in (1, 2))
);
create index sessions_of_user on sessions (user_id) where user_id is not null;
create index sessions_of_api_key on sessions (api_key_id) where api_key_id is not null;

-- Who did what: tether_core.audit. Rows are written in the transaction of the action and never changed.
create table audit (
    id bigint generated always as identity primary key,
    acted_at timestamptz not null,
    actor_kind text not null,
    actor_id bigint,
    actor text not null,
    address text,
    action text not null,
    subject text not null,
    subject_id text,
    reason text,
    before jsonb,
    after jsonb,
    constraint audit_actor_kind_known check (actor_kind in ('user', 'api_key', 'command')),
    constraint audit_action_form check (action ~ '^[a-z_]+\.[a-z_]+$')
);
create index audit_by_actor on audit (actor, id);
create index audit_by_action on audit (action, id);
create index audit_by_subject on audit (subject, subject_id, id);

create function refuse_change_of_audit() returns trigger language plpgsql as $$
begin
    raise exception 'rows of the audit are never changed' using errcode = 'restrict_violation';
end
$$;
create trigger audit_append_only before update or delete or truncate on audit
for each statement execute function refuse_change_of_audit();

-- Which supervisors and workers live, and which queues are paused; the queries are in tether_stores/workers.sql and queues.sql.
create table supervisors (
    id text primary key,
    host text not null,
    pid integer not null,
    version text not null,
    state text not null,
    pools jsonb not null,
    started_at timestamptz not null,
    seen_at timestamptz not null,
    constraint supervisors_state_known check (state in ('running', 'stopping'))
);
create table workers (
    id text primary key,
    supervisor_id text,
    pool text not null,
    host text not null,
    pid integer not null,
    version text not null,
    queues text[] not null,
    state text not null,
    memory_bytes bigint not null,
    activity jsonb not null,
    started_at timestamptz not null,
    seen_at timestamptz not null,
    constraint workers_state_known check (state in ('running', 'stopping')),
    constraint workers_memory_counted check (memory_bytes >= 0)
);
-- Gateway accounts with which nothing is submitted now (tether_stores.accounts.account_pauses).
create table account_pauses (
    account text primary key,
    paused_by text not null,
    reason text not null,
    paused_at timestamptz not null,
    constraint account_pauses_reason_given check (reason <> '')
);
create table queue_pauses (
    queue text primary key,
    paused_by text not null,
    reason text not null,
    paused_at timestamptz not null,
    constraint queue_pauses_reason_given check (reason <> '')
);
-- Orders to restart all workers: each worker that started before the latest one ends, and is started again by who started it.
create table worker_restarts (
    ordered_at timestamptz primary key,
    ordered_by text not null,
    reason text not null,
    constraint worker_restarts_reason_given check (reason <> '')
);

-- Archives of old notifications and events; the queries are in tether_stores/retention.
create table archives (
    id bigint generated always as identity primary key,
    kind text not null,
    object_key text not null,
    began_at timestamptz not null,
    -- Once the object was written and read back.
    confirmed_at timestamptz,
    rows integer,
    size_bytes bigint,
    sha256 bytea,
    first_id bigint,
    last_id bigint,
    from_at timestamptz,
    to_at timestamptz,
    -- When none of its rows was left in their table, and when its own period was over.
    pruned_at timestamptz,
    removed_at timestamptz,
    -- The object that an archive had before its personal data was erased, until that object is deleted.
    former_key text,
    constraint archives_kind_known check (kind in ('notifications', 'events')),
    constraint archives_confirmed_with_contents check (
        (confirmed_at is null) = (num_nonnulls(rows, size_bytes, sha256, first_id, last_id, from_at, to_at) = 0)
        and (confirmed_at is null or num_nulls(rows, size_bytes, sha256, first_id, last_id, from_at, to_at) = 0)
    ),
    constraint archives_confirmed_before_pruned check (pruned_at is null or confirmed_at is not null),
    constraint archives_pruned_before_removed check (removed_at is null or pruned_at is not null)
);
create unique index archives_one_unconfirmed on archives (kind) where confirmed_at is null;
create index archives_to_prune on archives (kind, id) where confirmed_at is not null and pruned_at is null;
create index archives_by_last_id on archives (kind, last_id) where confirmed_at is not null;

-- The keys of archived notifications: a repeat is recognised for as long as the debit it is about is kept.
create table archived_notifications (
    key bytea primary key,
    content bytea not null,
    -- Of webhook_events.
    id bigint not null,
    archive_id bigint not null,
    -- The debit it is about, by which its archive is found.
    attempt_id bigint
);
create index archived_notifications_by_attempt on archived_notifications (attempt_id) where attempt_id is not null;

-- What the completeness report counts of archived notifications.
create table archived_listings (
    listed_on date not null,
    source text not null,
    state text not null,
    outcome text not null,
    events bigint not null,
    primary key (listed_on, source, state, outcome)
);

-- How far periodic removal has come through a table.
create table retention_positions (
    name text primary key,
    position bigint not null,
    updated_at timestamptz not null
);

-- One action for everything that matches a filter; the queries are in tether_stores/bulk_orders.sql.
create table bulk_orders (
    id bigint generated always as identity primary key,
    action text not null,
    filters json not null,
    reason text not null,
    -- Who ordered it, as in audit.
    ordered_by text not null,
    actor_kind text not null,
    actor_id bigint,
    address text,
    state text not null,
    -- Row and time behind which the next batch begins.
    position bigint not null,
    position_at timestamptz not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    ended_at timestamptz,
    constraint bulk_orders_action_known check (
        action in (
            'replay', 'inquire', 'void', 'refund', 'lift', 'withdraw', 'pause_schedules', 'resume_schedules', 'end_schedules', 'recover',
            'waive', 'redeliver'
        )
    ),
    constraint bulk_orders_actor_kind_known check (actor_kind in ('user', 'api_key', 'command')),
    constraint bulk_orders_state_known check (state in ('working', 'finished', 'stopped')),
    constraint bulk_orders_ended_at_a_timestamp check ((state = 'working') = (ended_at is null))
);
create index bulk_orders_working on bulk_orders (id) where state = 'working';

-- What became of each row of such an order, by the action: a notification, a billing attempt, a blacklist entry, an upload, a schedule, a
-- due item or a delivery.
create table bulk_order_items (
    order_id bigint not null references bulk_orders (id),
    subject_id bigint not null,
    amount_minor bigint,
    currency text,
    -- Null where it was done, else why not.
    refused text,
    refused_reason text,
    primary key (order_id, subject_id),
    constraint bulk_order_items_refused_reason check ((refused is null) = (refused_reason is null))
);
-- Subscribers to which events are sent: tether_core.subscribers. Secrets are encrypted under TETHER_SECRETS_KEY.
create table subscribers (
    id bigint generated always as identity primary key,
    name text not null,
    url text not null,
    -- Filters; null for all.
    types text[],
    accounts text[],
    state text not null,
    disabled_reason text,
    -- The secrets that sign, the newest first; and when the older one ends.
    sealed bytea not null,
    old_secret_until timestamptz,
    -- Events of the outbox up to here have become deliveries.
    position bigint not null,
    -- The first failure after the last success; null while it works.
    failing_since_at timestamptz,
    delivered_at timestamptz,
    created_by text not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint subscribers_state_known check (state in ('active', 'paused', 'disabled', 'removed')),
    constraint subscribers_disabled_reason_known check (disabled_reason in ('failing', 'gone')),
    constraint subscribers_disabled_for_a_reason check ((state = 'disabled') = (disabled_reason is not null))
);
create unique index subscribers_name_once on subscribers (name) where state <> 'removed';

-- One event to one subscriber; its life cycle: tether_core.subscribers.delivery. The event is in the outbox.
create table deliveries (
    id bigint generated always as identity primary key,
    subscriber_id bigint not null references subscribers (id),
    event_id bigint not null,
    event_name text not null,
    account text,
    -- Events with one key are delivered one after the other; null: the order does not matter.
    order_key text,
    state text not null,
    tries integer not null default 0,
    -- Tries since it began or was replayed, for the retry schedule.
    failures smallint not null default 0,
    due_at timestamptz,
    leased_until timestamptz,
    http_status smallint,
    error text,
    created_at timestamptz not null,
    ended_at timestamptz,
    constraint deliveries_state_known check (state in ('waiting', 'delivered', 'given_up')),
    constraint deliveries_waiting_is_due check ((state = 'waiting') = (due_at is not null)),
    constraint deliveries_lease_while_waiting check (leased_until is null or state = 'waiting')
);
create unique index deliveries_once on deliveries (subscriber_id, event_id);
create index deliveries_waiting on deliveries (subscriber_id, due_at) where state = 'waiting';
create index deliveries_waiting_by_key on deliveries (subscriber_id, order_key, event_id) where state = 'waiting';
create index deliveries_by_state on deliveries (subscriber_id, state, id);
create index deliveries_by_event on deliveries (event_id);
create index deliveries_ended on deliveries (ended_at) where ended_at is not null;

-- The tries of a delivery.
create table delivery_tries (
    delivery_id bigint not null references deliveries (id) on delete cascade,
    number integer not null,
    tried_at timestamptz not null,
    took_ms integer not null,
    http_status smallint,
    error text,
    primary key (delivery_id, number)
);

-- Orders to send a range of events to a subscriber again.
create table replays (
    id bigint generated always as identity primary key,
    subscriber_id bigint not null references subscribers (id),
    types text[],
    -- Events after this one up to and with the other are left to do.
    position bigint not null,
    up_to bigint not null,
    replayed bigint not null default 0,
    ordered_by text not null,
    reason text not null,
    created_at timestamptz not null,
    finished_at timestamptz
);
create unique index replays_one_at_once on replays (subscriber_id) where finished_at is null;
create index replays_by_subscriber on replays (subscriber_id, id);
-- Recurring collection: tether_core.recurring. Its collection plans are above, before the runs.

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
create index mandates_ended on mandates (debtor_id) where state <> 'active';
create index mandates_one_off on mandates (debtor_id) where kind = 'one_off' and state = 'active';

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

-- Announcements of debits to debtors, kept as proof; tether_core.recurring.pre_notification.
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
-- The pre-notifications of a debtor: retention/pruning.prune_debtors.
create index pre_notifications_by_debtor on pre_notifications (debtor_id);

-- Erasures of the personal data of debtors: tether_core.erasures.
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

-- The trace of the request that made a row, while traces are on; tether_stores/traces.
create table trace_parents (
    subject text not null,
    subject_id bigint not null,
    traceparent text not null,
    created_at timestamptz not null,
    primary key (subject, subject_id),
    constraint trace_parents_subject_known check (subject in ('notification', 'upload', 'billing_run', 'refund'))
);
create index trace_parents_old on trace_parents (created_at);

-- Only the owner of a table may update its planner statistics, and the worker is not the owner: payments/submissions.analyze.
create function analyze_billing_attempts() returns void
language plpgsql security definer set search_path = pg_catalog, public, pg_temp as $$
begin
    analyze public.billing_attempts;
end
$$;

-- Versions of the return policy; rules is JSON of tether_core.return_policies.policy.Rule by reason code. Version 0 is built in.
create table return_policies (
    version integer primary key,
    based_on integer not null,
    rules bytea not null,
    reason text not null,
    created_by text not null,
    created_at timestamptz not null,
    constraint return_policies_version_positive check (version > 0),
    constraint return_policies_based_on_earlier check (based_on >= 0 and based_on < version),
    constraint return_policies_reason_given check (reason <> '')
);

-- Dry runs of a version over past returns, against the version that decided then; result is JSON of
-- tether_core.return_policies.dry_run.DryRun.
create table return_policy_dry_runs (
    id bigint generated always as identity primary key,
    -- Of return_policies; version 0 is built in and no row.
    version integer not null,
    against integer not null,
    result bytea not null,
    made_by text not null,
    made_at timestamptz not null
);
create index return_policy_dry_runs_by_version on return_policy_dry_runs (version, against, id);

-- Which version decides: that of the last row, version 0 before the first.
create table return_policy_switches (
    id bigint generated always as identity primary key,
    version integer not null,
    version_before integer not null,
    -- The dry run that was looked at; null where the version was active before.
    dry_run_id bigint references return_policy_dry_runs (id),
    reason text not null,
    switched_by text not null,
    switched_at timestamptz not null,
    constraint return_policy_switches_switch check (version <> version_before),
    constraint return_policy_switches_reason_given check (reason <> '')
);
create index return_policy_switches_by_version on return_policy_switches (version);

-- Pre-flight reports of uploads; content is JSON of tether_core.preflight.report.PreflightReport, the bytes that are signed.
create table preflight_reports (
    id bigint generated always as identity primary key,
    upload_id bigint not null references uploads (id),
    account text not null,
    verdict text not null,
    content bytea not null,
    -- Null where there was no TETHER_SECRETS_KEY.
    signature text,
    made_by text not null,
    made_at timestamptz not null,
    constraint preflight_reports_verdict_known check (verdict in ('go', 'no_go', 'unknown', 'no_rule'))
);
create index preflight_reports_by_upload on preflight_reports (upload_id, id);

-- Texts of bank statements by gateway account and month; '' stands for all.
create table statement_texts (
    account text not null,
    month text not null,
    text text not null,
    written_by text not null,
    written_at timestamptz not null,
    primary key (account, month),
    constraint statement_texts_month_form check (month = '' or month ~ '^20[0-9]{2}-(0[1-9]|1[0-2])$'),
    constraint statement_texts_text_given check (text <> '')
);
