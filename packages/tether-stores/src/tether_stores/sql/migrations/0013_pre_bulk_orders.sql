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
    constraint bulk_orders_action_known check (action in ('replay', 'inquire', 'void', 'refund', 'lift', 'withdraw')),
    constraint bulk_orders_actor_kind_known check (actor_kind in ('user', 'api_key', 'command')),
    constraint bulk_orders_state_known check (state in ('working', 'finished', 'stopped')),
    constraint bulk_orders_ended_at_a_timestamp check ((state = 'working') = (ended_at is null))
);
create index bulk_orders_working on bulk_orders (id) where state = 'working';

-- What became of each row of such an order: a notification, a billing attempt, a blacklist entry or an upload, by the action.
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
