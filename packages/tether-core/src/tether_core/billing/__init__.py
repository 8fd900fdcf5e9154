"""Billing runs: who may be debited, the request that does it, and what pauses a run."""
