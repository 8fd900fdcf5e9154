"""Uploads: the life of a file of debtors, its keys, its report of problems, and its withdrawal."""
