"""Refunds, voids and orders about many debits, in Postgres."""
