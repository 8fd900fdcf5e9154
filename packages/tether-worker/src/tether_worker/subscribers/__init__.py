"""Events to subscribers: deliveries are made from the outbox, and sent."""
