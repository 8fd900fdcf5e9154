-- Who is signed in to the console; the queries are in tether_stores/sessions.sql.
create table sessions (
    token_digest bytea primary key,
    holder text not null,
    created_at timestamptz not null,
    last_used_at timestamptz not null,
    constraint sessions_digest_is_sha256 check (octet_length(token_digest) = 32)
);
