"""Retention: how long data is kept, and the archive of what is old."""
