"""Refunds and voids: submitted once, and inquired where their outcome is unknown."""
