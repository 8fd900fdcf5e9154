"""Traces: spans of this process, and which rows belong to which trace."""
