"""Reconciliation: status inquiries, report fetches, completeness and differences."""
