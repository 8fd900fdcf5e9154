"""Uploads: the life of a file of debtors, and its withdrawal."""
