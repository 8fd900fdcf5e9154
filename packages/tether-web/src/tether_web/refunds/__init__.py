"""Refunds and voids, of one payment and of a whole run."""
