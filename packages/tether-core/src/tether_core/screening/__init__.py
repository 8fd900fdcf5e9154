"""Screening: which debtors of an upload are excluded, and what a person is asked first."""
