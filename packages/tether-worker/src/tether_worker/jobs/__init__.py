"""How background work runs: jobs, leases, periodic tasks."""
