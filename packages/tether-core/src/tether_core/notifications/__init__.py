"""Notifications: which deliveries are the same, the life of a received one, and which the gateway must confirm."""
