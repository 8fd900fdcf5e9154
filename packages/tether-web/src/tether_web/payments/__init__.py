"""Payments: billing attempts, chargebacks and exposure."""
