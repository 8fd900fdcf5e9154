"""`/api/blacklist`: entries, and lists that are imported and exported."""
