-- People who sign in to the console: tether_core.people.
create table users (
    id bigint generated always as identity primary key,
    name text not null,
    role text not null,
    -- The gateway accounts to which the user is limited; null for all.
    accounts text[],
    -- Argon2id.
    password_hash text,
    -- Whether another person has seen the password.
    is_temporary boolean not null default false,
    -- Encrypted under TETHER_SECRETS_KEY; and the time step of the last accepted code, which is accepted once.
    second_factor bytea,
    second_factor_step bigint,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    signed_in_at timestamptz,
    disabled_at timestamptz,
    constraint users_role_known check (role in ('viewer', 'operator', 'admin'))
);
create unique index users_once on users (name);

-- Codes that replace the second factor, each once.
create table backup_codes (
    user_id bigint not null references users (id) on delete cascade,
    code_digest bytea not null,
    used_at timestamptz,
    primary key (user_id, code_digest)
);

-- Keys of programs; those of TETHER_API_KEYS are not rows.
create table api_keys (
    id bigint generated always as identity primary key,
    name text not null,
    key_digest bytea not null,
    role text not null,
    accounts text[],
    -- Who answers for it: the user who created it, as "user:7", or the key itself.
    owner text not null,
    created_by text not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoked_by text,
    constraint api_keys_role_known check (role in ('viewer', 'operator', 'admin')),
    constraint api_keys_digest_is_sha256 check (octet_length(key_digest) = 32),
    constraint api_keys_revoked_by_someone check ((revoked_at is null) = (revoked_by is null))
);
create unique index api_keys_by_digest on api_keys (key_digest);
create unique index api_keys_name_once on api_keys (name) where revoked_at is null;

-- Failed sign-ins that are counted: tether_core.people.sign_in. Digests, so that a mistyped password in the field of the name stays nowhere.
create table sign_in_failures (
    counter text not null,
    subject_digest bytea not null,
    failures integer not null,
    failed_at timestamptz not null,
    primary key (counter, subject_digest),
    constraint sign_in_failures_counter_known check (counter in ('user_and_address', 'address', 'user'))
);
create index sign_in_failures_by_time on sign_in_failures (failed_at);

alter table sessions add column user_id bigint references users (id) on delete cascade;
alter table sessions add column api_key_id bigint references api_keys (id) on delete cascade;
alter table sessions add column second_factor boolean not null default false;
create index sessions_of_user on sessions (user_id) where user_id is not null;
create index sessions_of_api_key on sessions (api_key_id) where api_key_id is not null;
