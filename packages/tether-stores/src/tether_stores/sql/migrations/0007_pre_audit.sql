-- Who did what: tether_core.audit. Rows are written in the transaction of the action and never changed.
create table audit (
    id bigint generated always as identity primary key,
    acted_at timestamptz not null,
    actor_kind text not null,
    actor_id bigint,
    actor text not null,
    address text,
    action text not null,
    subject text not null,
    subject_id text,
    reason text,
    before jsonb,
    after jsonb,
    constraint audit_actor_kind_known check (actor_kind in ('user', 'api_key', 'command')),
    constraint audit_action_form check (action ~ '^[a-z_]+\.[a-z_]+$')
);
create index audit_by_actor on audit (actor, id);
create index audit_by_action on audit (action, id);
create index audit_by_subject on audit (subject, subject_id, id);

create function refuse_change_of_audit() returns trigger language plpgsql as $$
begin
    raise exception 'rows of the audit are never changed' using errcode = 'restrict_violation';
end
$$;
create trigger audit_append_only before update or delete or truncate on audit
for each statement execute function refuse_change_of_audit();
