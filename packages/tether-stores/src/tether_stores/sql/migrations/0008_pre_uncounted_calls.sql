-- Calls that cost no try: nothing was submitted, or the gateway wanted fewer requests; tether_core.payments.submission.

alter table billing_attempts add column sends_uncounted smallint not null default 0;
alter table billing_attempts add constraint billing_attempts_uncounted_of_sends
    check (sends_uncounted between 0 and sends);

alter table givebacks add column sends_uncounted smallint not null default 0;
alter table givebacks add constraint givebacks_uncounted_of_sends check (sends_uncounted between 0 and sends);
