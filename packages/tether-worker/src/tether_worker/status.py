"""`tether-worker status`: how the inbox and the attempts stand, for people or as JSON."""

from datetime import UTC, datetime

import msgspec
from rich.console import Console
from rich.table import Table
from tether_stores import billing_attempts, webhook_events
from tether_stores.postgres import connection, open_pool
from tether_stores.settings import Settings

__all__ = ["Status", "show", "status"]


class Status(msgspec.Struct, frozen=True):
    """
    How everything stands.

    Attributes:
        waiting: Notifications that are due and not booked.
        oldest_age_s: Age of the oldest of them, in seconds.
        put_off: Notifications that wait for a later moment, such as for their payment to appear.
        confirming: Notifications that wait for the gateway's word.
        processed: Notifications done with.
        parked: Notifications that wait for a person.
        conflicting: Deliveries kept aside for a person.
        attempts: Billing attempts by state.
    """

    waiting: int
    oldest_age_s: float
    put_off: int
    confirming: int
    processed: int
    parked: int
    conflicting: int
    attempts: dict[str, int]


async def status(settings: Settings) -> Status:
    """
    Ask the tables.

    Args:
        settings: With `DATABASE_URL`.

    Returns:
        The status.

    Raises:
        StoreUnreachable: when Postgres does not answer.
    """
    async with (
        open_pool(settings.database_url, name="tether-status", max_size=1) as pool,
        connection(pool) as conn,
    ):
        inbox = await webhook_events.tally(conn, now=datetime.now(UTC))
        attempts = await billing_attempts.states(conn)
    return Status(
        waiting=inbox.waiting,
        oldest_age_s=round(inbox.oldest_due_s, 3),
        put_off=inbox.put_off,
        confirming=inbox.confirming,
        processed=inbox.processed,
        parked=inbox.parked,
        conflicting=inbox.conflicting,
        attempts={state: count for state, (count, _) in sorted(attempts.items())},
    )


def show(told: Status) -> None:
    """Print a status as a table for people."""
    table = Table(title="Tether", show_header=False)
    table.add_row("notifications waiting", str(told.waiting))
    table.add_row("oldest of them", f"{told.oldest_age_s:.1f} s")
    table.add_row("put off", str(told.put_off))
    table.add_row("waiting for the gateway's word", str(told.confirming))
    table.add_row("processed", str(told.processed))
    table.add_row("parked for a person", str(told.parked))
    table.add_row("conflicting, kept for a person", str(told.conflicting))
    for state, count in told.attempts.items():
        table.add_row(f"attempts {state}", str(count))
    Console().print(table)
