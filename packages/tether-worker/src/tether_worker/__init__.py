"""Background jobs: apply notifications, read uploads, submit debits, reconcile. Rows in Postgres decide, SAQ only wakes."""
