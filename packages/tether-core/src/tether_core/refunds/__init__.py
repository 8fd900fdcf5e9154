"""Refunds and voids: one order for one debit, and orders about all debits of a run."""
