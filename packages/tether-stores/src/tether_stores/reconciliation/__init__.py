"""Leases of status inquiries, report fetches, completeness and differences, in Postgres."""
