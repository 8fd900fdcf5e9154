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
create table queue_pauses (
    queue text primary key,
    paused_by text not null,
    reason text not null,
    paused_at timestamptz not null,
    constraint queue_pauses_reason_given check (reason <> '')
);
