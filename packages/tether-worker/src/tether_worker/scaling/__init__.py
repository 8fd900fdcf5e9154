"""The supervisor: it keeps pools of worker processes (`tether-worker supervise`)."""
