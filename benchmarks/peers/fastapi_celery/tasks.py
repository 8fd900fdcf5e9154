# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""The worker: `celery -A tasks worker`, with its own number of processes, one per core."""

import os
from functools import cache
from pathlib import Path

import psycopg
from celery import Celery

BOOK = Path(__file__).parents[1].joinpath("book.sql").read_text(encoding="utf-8")

app = Celery("tasks", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@cache
def database() -> psycopg.Connection:
    """Connect, once per process."""
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


@app.task
def book(fields):
    """Write the status of one payment."""
    database().execute(BOOK, {"unique_id": fields["unique_id"], "status": fields["status"]})
