"""Payments: one attempt to debit, how it is submitted at most once, and what happens to it afterwards."""
