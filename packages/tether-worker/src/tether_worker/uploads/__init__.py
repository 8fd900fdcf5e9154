"""Intake: files are read in a process of their own, in chunks, screened and finished."""
