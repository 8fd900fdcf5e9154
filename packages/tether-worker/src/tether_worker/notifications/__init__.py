"""Notifications: confirmed with the gateway where needed, and applied."""
