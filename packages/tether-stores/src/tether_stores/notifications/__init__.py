"""The inbox of notifications in Postgres, and counts of what came beyond its bounds."""
