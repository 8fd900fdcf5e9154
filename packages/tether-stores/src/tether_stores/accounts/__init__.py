"""Gateway accounts and the identities that calls go to, in Postgres."""
