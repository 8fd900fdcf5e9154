"""Billing runs: planned, paused, finished, and their refusals released."""
