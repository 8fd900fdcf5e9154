"""Reconciliation: the completeness report and the list of differences."""
