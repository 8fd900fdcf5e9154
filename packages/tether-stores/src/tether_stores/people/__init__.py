"""Users, API keys and failed sign-ins; one short function per named query."""
