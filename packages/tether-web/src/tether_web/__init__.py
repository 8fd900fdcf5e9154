"""Tether's HTTP API: receives notifications and uploads, and wakes the worker. Litestar on Granian; stateless."""
