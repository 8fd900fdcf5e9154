"""People and keys: users, API keys, and the steps of signing in."""
