"""Billing runs, and the debtors whom they may bill."""
