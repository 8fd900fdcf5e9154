-- Uploads that a person withdrew before anything of them was submitted.
alter table uploads
    add column withdrawn_at timestamptz,
    add column withdrawn_by text,
    add column withdrawn_because text;

alter table uploads drop constraint uploads_state_known;
alter table uploads add constraint uploads_state_known check (
    state in ('received', 'examining', 'needs_answer', 'reading', 'completed', 'failed', 'withdrawn')
);

-- Why a file could not be read stays stored when it is withdrawn.
alter table uploads drop constraint uploads_failed_for_a_reason;
alter table uploads add constraint uploads_failed_for_a_reason check (
    (state <> 'failed' or failure_code is not null)
    and (state in ('failed', 'withdrawn') or failure_code is null)
    and (failure_code is null) = (failure is null)
);
alter table uploads add constraint uploads_withdrawn_for_a_reason check (
    (state = 'withdrawn') = (withdrawn_at is not null)
    and (withdrawn_at is null) = (withdrawn_by is null)
    and (withdrawn_at is null) = (withdrawn_because is null)
);
