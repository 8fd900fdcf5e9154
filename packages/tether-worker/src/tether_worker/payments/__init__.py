"""Submissions of debits, what follows their return, and imports of another system's debits."""
