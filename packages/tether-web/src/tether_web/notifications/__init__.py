"""Notifications: received, recorded by group commit, and listed."""
