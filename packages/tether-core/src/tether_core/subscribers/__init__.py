"""Subscribers: other systems to which events are sent, the deliveries to them, and which addresses they may have."""
