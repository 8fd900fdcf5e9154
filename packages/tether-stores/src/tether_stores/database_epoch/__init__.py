"""Epochs of the database: the watch that detects when it went back, and what a lost history may have done."""
