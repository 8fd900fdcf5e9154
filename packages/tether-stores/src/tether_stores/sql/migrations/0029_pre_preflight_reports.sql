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
