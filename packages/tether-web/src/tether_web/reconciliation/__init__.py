"""Completeness and differences of the books."""
