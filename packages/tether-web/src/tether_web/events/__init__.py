"""Events as they happen: server-sent events from the outbox."""
