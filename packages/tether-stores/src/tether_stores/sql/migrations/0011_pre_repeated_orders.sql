-- Orders that are repeated, and what a run was told by people beside its terms.

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

-- Whether the same due item was ordered again, and which verdicts a person has set aside; tether_core.billing.overrides.
alter table billing_runs
    add column again boolean not null default false,
    add column overrides bytea not null default '[]';
