insert into payments (unique_id, status) values (%(unique_id)s, %(status)s)
on conflict (unique_id) do update set status = excluded.status
