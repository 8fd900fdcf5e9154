-- Dual control: who answers for the order of a run, whether it waits for a second person, and who that was; tether_core.billing.dual_control.
alter table billing_runs
    add column owner text not null default '',
    add column awaits_release boolean not null default false,
    add column released_by text,
    add constraint billing_runs_awaits_release_while_paused check (not awaits_release or state = 'paused');
