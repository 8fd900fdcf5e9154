"""Recurring collection: collection plans, mandates, schedules, due items and pre-notifications."""
