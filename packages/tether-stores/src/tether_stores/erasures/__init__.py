"""Erasures of personal data: queries by subject."""
