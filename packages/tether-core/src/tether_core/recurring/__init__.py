"""Recurring collection: mandates, collection plans, schedules, their due items, and pre-notifications."""
