-- Epochs of the database: what notices that it went back, and what was done about it. A debit may have been submitted by a
-- history that is lost, so the time of its latest possible call is known without any call being known.

create table database_epochs (
    number integer primary key,
    token text not null,
    installation text not null,
    reason text not null,
    system_id text,
    timeline integer,
    pulse bigint not null,
    pulse_at timestamptz not null,
    began_at timestamptz not null,
    ended_at timestamptz,
    lost_since_at timestamptz,
    attempts_to bigint not null,
    orders_to bigint not null,
    debtors_to bigint not null,
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

alter table billing_attempts drop constraint billing_attempts_sent_at_a_moment;
alter table billing_attempts add constraint billing_attempts_sent_at_a_moment check (sends = 0 or sent_at is not null);
alter table givebacks drop constraint givebacks_sent_at_a_moment;
alter table givebacks add constraint givebacks_sent_at_a_moment check (sends = 0 or sent_at is not null);
