"""Screening: which debtors of an upload are excluded, and which questions a person must answer first."""
