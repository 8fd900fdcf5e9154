"""Subscribers, their deliveries, and replays."""
