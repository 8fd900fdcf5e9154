"""
The adapters that Tether's web and worker share: settings, Postgres, Redis, objects, telemetry. No rules.

Rules live in `tether_core`; here is what it takes to keep their results. SQL lives in `sql/<table>.sql`, one
named query after the other, and each query has one short function in the module named after its table.
"""
