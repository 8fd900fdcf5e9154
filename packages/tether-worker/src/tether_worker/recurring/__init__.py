"""Recurring collection: the clock of due items, their orders and claims, pre-notifications, and revoked mandates."""
