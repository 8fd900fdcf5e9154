-- A debit that was won back is not voided, for a reason of its own. The rows there are, fit: the list only grows.
alter table run_void_debits
    drop constraint run_void_debits_refused_known,
    add constraint run_void_debits_refused_known check (
        refused in (
            'charged_back', 'earlier_day', 'held', 'money_back', 'not_submitted', 'nothing_collected', 'outcome_unknown',
            'refund_ordered', 'won_back'
        )
    );
