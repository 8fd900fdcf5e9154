-- The trace of the request that made a row; written only while traces are on.
create table trace_parents (
    subject text not null,
    subject_id bigint not null,
    traceparent text not null,
    created_at timestamptz not null,
    primary key (subject, subject_id),
    constraint trace_parents_subject_known check (subject in ('notification', 'upload', 'billing_run', 'refund'))
);
create index trace_parents_old on trace_parents (created_at);
