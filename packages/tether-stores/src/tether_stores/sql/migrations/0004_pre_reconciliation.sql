-- What the gateway's lists have, when payments are asked about, what follows a return, and checks of accounts.

-- A tick of a standing duty: whoever inserts it does the duty, so it is done once however many workers are up.
create table ticks (
    duty text not null,
    tick_at timestamptz not null,
    taken_at timestamptz not null,
    primary key (duty, tick_at)
);

-- The reading of one list of one day; read again and again while the list may still change.
create table pulls (
    account text not null,
    list text not null,
    day_on date not null,
    -- When it was last asked for, and when it is to be read, or to be gone on with; null while nothing is to be done.
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
    constraint pulls_list_known check (list in ('transactions', 'chargebacks', 'imports')),
    constraint pulls_counts_whole check (
        failures >= 0 and terminal >= 0 and page >= 1 and listed_so_far >= 0 and held_so_far >= 0
        and unread_so_far >= 0 and listed >= 0 and held >= 0 and unread >= 0
    )
);
create index pulls_due on pulls (due_at) where due_at is not null;
create index pulls_by_day on pulls (day_on);

alter table webhook_events
    -- The day in whose list the gateway has this event, and its own moment of the payment, where it told one.
    add column listed_on date,
    add column happened_at timestamptz;
create index webhook_events_by_listing on webhook_events (listed_on) where listed_on is not null;

alter table billing_attempts
    -- Questions to the gateway: answers that settled nothing, and when the next one is due.
    add column asks smallint not null default 0,
    add column ask_at timestamptz,
    -- After a return: when that was looked at, what came of it, and the day on which the same debit may be tried again.
    add column followed_at timestamptz,
    add column retry_on date,
    add column retry_why text,
    add constraint billing_attempts_retry_has_cause check ((followed_at is null) = (retry_why is null)),
    add constraint billing_attempts_retry_why_known check (
        retry_why in ('retry', 'reason', 'listed', 'tried enough', 'too late', 'no room')
    ),
    add constraint billing_attempts_retry_has_day check ((retry_on is not null) = (retry_why is not distinct from 'retry'));
create index billing_attempts_first_ask on billing_attempts (payment_stage, updated_at)
    where ask_at is null and dispute_stage = 0 and payment_stage in (10, 20, 30);
create index billing_attempts_next_ask on billing_attempts (payment_stage, ask_at)
    where ask_at is not null and dispute_stage = 0 and payment_stage in (10, 20, 30);
create index billing_attempts_to_follow on billing_attempts (id)
    where followed_at is null and reason_code is not null and dispute_stage in (1, 3);
create index billing_attempts_by_retry on billing_attempts (retry_on) where retry_on is not null;

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
    constraint vop_checks_state_known check (state in ('waiting', 'checked', 'parked')),
    constraint vop_checks_waiting_has_moment check ((state = 'waiting') = (next_at is not null)),
    constraint vop_checks_checked_has_result check ((state = 'checked') <= (result is not null and score is not null)),
    constraint vop_checks_result_known check (
        result in ('verified', 'likely_verified', 'inconclusive', 'mismatch', 'rejected')
    ),
    constraint vop_checks_score_in_percent check (score between 0 and 100 and answered between 0 and 100)
);
create index vop_checks_due on vop_checks (next_at) where state = 'waiting';
