-- concurrently
-- Money that was returned, by code: payments/chargebacks.by_code reads nothing but this index.
create index concurrently if not exists figures_returned on figures (account, reason_code, currency) include (count, amount_minor)
where kind = 'returned';
