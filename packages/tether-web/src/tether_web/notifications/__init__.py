"""Notifications: receive them, record them by group commit, list and replay them."""
