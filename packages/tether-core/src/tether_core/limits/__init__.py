"""Limits: how fast the gateway may be called, and when not at all."""
