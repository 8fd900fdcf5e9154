"""Uploads: files in, their debtors and problems out."""
