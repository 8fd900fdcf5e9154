"""Erasing the personal data of debtors."""
