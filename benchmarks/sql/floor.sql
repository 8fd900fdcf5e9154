-- What the floor and the peers need in a database of their own; they run in the database "peers".

-- database --
-- The statement that makes the database. One row.
select format('create database %%I', %(name)s::text);

-- floor_table --
-- Where the floor puts its bodies.
create table bodies (key bytea primary key, body bytea not null);

-- peers_table --
-- What the workers of the peers write: the status of each payment.
create table payments (unique_id text primary key, status text not null);

-- emptied --
-- Forget what earlier turns wrote.
truncate bodies, payments;

-- store --
-- One body; a repeat does nothing.
insert into bodies (key, body) values (%(key)s, %(body)s) on conflict (key) do nothing;

-- applied --
-- How many payments a worker has written. One row.
select count(*) from payments;
