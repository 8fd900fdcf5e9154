"""Events: the outbox as server-sent events."""
