-- concurrently
-- Few mandates are for one debit, and each billing run looks for those of its debtors: recurring/mandates.one_off_of.
create index concurrently if not exists mandates_one_off on mandates (debtor_id) where kind = 'one_off' and state = 'active';
