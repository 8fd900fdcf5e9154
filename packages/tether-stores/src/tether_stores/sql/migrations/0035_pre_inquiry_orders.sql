-- Status inquiries that a person orders, and the debits that they are about.
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

create table inquiry_order_attempts (
    order_id bigint not null references inquiry_orders (id),
    attempt_id bigint not null references billing_attempts (id),
    state_before text not null,
    asks smallint not null default 0,
    -- When it is to be inquired, or the end of the lease; null once it was, or was given up.
    inquire_at timestamptz,
    expires_at timestamptz not null,
    is_inquired boolean not null default false,
    primary key (order_id, attempt_id)
);
create unique index inquiry_order_attempts_once on inquiry_order_attempts (attempt_id) where inquire_at is not null;
create index inquiry_order_attempts_due on inquiry_order_attempts (inquire_at) where inquire_at is not null;
