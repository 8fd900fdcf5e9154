"""Other systems to which events are sent: the subscribers, and what is delivered to them."""
