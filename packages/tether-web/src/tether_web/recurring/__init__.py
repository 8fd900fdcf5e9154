"""Recurring collection: collection plans, schedules, due items, mandates and pre-notifications."""
