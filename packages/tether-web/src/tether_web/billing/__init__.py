"""Billing runs: order, preview, follow, control, release."""
