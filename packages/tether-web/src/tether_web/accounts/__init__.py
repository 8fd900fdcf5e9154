"""Gateway accounts: the credentials that verify notifications, and what people see of an account and pause."""
