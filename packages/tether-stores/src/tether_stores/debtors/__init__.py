"""Debtors: lists, staging of the rows of uploads, and verdicts."""
