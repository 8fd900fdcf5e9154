"""Uploads, their debtors, problems and withdrawals, in Postgres."""
