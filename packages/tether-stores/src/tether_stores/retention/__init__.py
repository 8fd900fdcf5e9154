"""Archived and removed rows: queries by subject."""
