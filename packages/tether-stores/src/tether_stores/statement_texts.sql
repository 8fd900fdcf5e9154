-- statement_texts: texts of bank statements by gateway account and month; "" stands for all accounts, and for all months. A run keeps the text that
-- was chosen when it was ordered, so a change here changes no run.

-- listed --
-- All texts, by account and month.
select account, month, text, written_by, written_at from statement_texts order by account, month;

-- put --
-- Write a text in place of the one before.
insert into statement_texts (account, month, text, written_by, written_at)
values (%(account)s, %(month)s, %(text)s, %(written_by)s, %(now)s)
on conflict (account, month) do update
set text = excluded.text, written_by = excluded.written_by, written_at = excluded.written_at;

-- remove --
-- Remove a text. Returns it; no row where there is none.
delete from statement_texts where account = %(account)s and month = %(month)s returning text;
