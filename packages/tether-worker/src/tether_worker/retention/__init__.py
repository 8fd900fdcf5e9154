"""Archiving and removing what is old."""
