-- Notifications that the gateway contradicts are inquired again for two days, and end in a state of their own. Deliveries
-- beyond what is kept of one payment are counted.

alter table webhook_events
    add column report_class text not null default '',
    add column confirmed_transaction_id text,
    add column contradicted_count smallint not null default 0,
    add column first_contradicted_at timestamptz,
    add column last_contradicted_at timestamptz,
    add column inquiries_began_at timestamptz;

alter table webhook_events drop constraint webhook_events_state_known;
alter table webhook_events add constraint webhook_events_state_known check (
    state in ('waiting', 'confirming', 'processed', 'contradicted', 'parked', 'conflicting')
);
alter table webhook_events drop constraint webhook_events_kind_known;
alter table webhook_events add constraint webhook_events_kind_known check (
    kind in ('payment', 'wpf', 'kyc', 'apm_event', 'other')
);
alter table webhook_events add constraint webhook_events_contradicted_at_times check (
    (contradicted_count = 0) = (first_contradicted_at is null)
    and (contradicted_count = 0) = (last_contradicted_at is null)
);

create index webhook_events_contradicted on webhook_events (id) where state = 'contradicted';
create index webhook_events_identity_checks on webhook_events (account, received_at) where kind = 'kyc';

create table excess_deliveries (
    webhook_event_id bigint primary key,
    deliveries bigint not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    announced_at timestamptz,
    constraint excess_deliveries_counted check (deliveries > 0)
);
create index excess_deliveries_unannounced on excess_deliveries (first_at) where announced_at is null;
