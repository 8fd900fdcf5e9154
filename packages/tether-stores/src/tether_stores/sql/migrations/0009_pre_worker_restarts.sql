-- Orders to restart all workers; the queries are in tether_stores/workers.sql.
create table worker_restarts (
    ordered_at timestamptz primary key,
    ordered_by text not null,
    reason text not null,
    constraint worker_restarts_reason_given check (reason <> '')
);
