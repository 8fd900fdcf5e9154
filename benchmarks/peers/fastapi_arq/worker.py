# mypy: ignore-errors
# Run with libraries of its own, which the type checker does not see.
"""The worker: `arq worker.Settings --custom-log-dict worker.QUIET`."""

import os
from pathlib import Path

from arq.connections import RedisSettings
from psycopg_pool import AsyncConnectionPool

BOOK = Path(__file__).parents[1].joinpath("book.sql").read_text(encoding="utf-8")


async def startup(context):
    """Open the database."""
    context["pool"] = AsyncConnectionPool(
        os.environ["DATABASE_URL"], kwargs={"autocommit": True}, max_size=10, open=False
    )
    await context["pool"].open()


async def shutdown(context):
    """Close it."""
    await context["pool"].close()


async def book(context, fields):
    """Write the status of one payment."""
    async with context["pool"].connection() as conn:
        await conn.execute(BOOK, {"unique_id": fields["unique_id"], "status": fields["status"]})


# For --custom-log-dict: by default arq writes two lines for every job.
QUIET = {"version": 1}


class Settings:
    """What arq reads."""

    functions = (book,)
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ["REDIS_URL"])
    # With the defaults (10 jobs, a look each 0.5 s) arq begins at most a hundred jobs a second.
    max_jobs = 100
    poll_delay = 0.05
    keep_result = 0
