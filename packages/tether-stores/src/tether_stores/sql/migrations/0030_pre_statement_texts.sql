-- Texts of bank statements by gateway account and month; '' stands for all.
create table statement_texts (
    account text not null,
    month text not null,
    text text not null,
    written_by text not null,
    written_at timestamptz not null,
    primary key (account, month),
    constraint statement_texts_month_form check (month = '' or month ~ '^20[0-9]{2}-(0[1-9]|1[0-2])$'),
    constraint statement_texts_text_given check (text <> '')
);
