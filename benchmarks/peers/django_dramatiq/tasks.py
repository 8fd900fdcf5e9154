# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""The worker: `dramatiq tasks`, with its own number of processes, one per core, and of threads, eight each."""

import os
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from psycopg_pool import ConnectionPool

BOOK = Path(__file__).parents[1].joinpath("book.sql").read_text(encoding="utf-8")

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))
# Opened by the first task, so that the server, which imports this module to send, opens none.
pool = ConnectionPool(
    os.environ["DATABASE_URL"], kwargs={"autocommit": True}, min_size=1, max_size=8, open=False
)


@dramatiq.actor
def book(fields):
    """Write the status of one payment."""
    pool.open()
    with pool.connection() as conn:
        conn.execute(BOOK, {"unique_id": fields["unique_id"], "status": fields["status"]})
