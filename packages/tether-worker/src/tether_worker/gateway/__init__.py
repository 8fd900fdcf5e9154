"""The gateway client: one for each account, with its connections."""
