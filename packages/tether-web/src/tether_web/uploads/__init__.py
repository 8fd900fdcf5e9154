"""Uploads: files of debtors, their progress and their problems."""
