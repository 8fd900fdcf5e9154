"""Billing attempts: listed, and until when their money may go back."""
