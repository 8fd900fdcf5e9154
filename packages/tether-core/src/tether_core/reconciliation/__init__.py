"""Reconciliation: status inquiries, records of the gateway's reports, and the proof that nothing is missing."""
