-- A refund that failed, and that the gateway approves after all, is stored beside the one that followed it: the money went back twice.
drop index refunds_one_active;
create unique index refunds_one_active on refunds (attempt_id) where state in ('pending', 'unknown');
