"""Billing attempts and their submissions in Postgres: one short function per query, the SQL beside it."""
