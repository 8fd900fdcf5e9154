"""
Give pre-notifications to debtors through an adapter.

An adapter is one function: it gives a batch, and returns once the batch cannot be lost. The name of a batch is committed before, so that after a crash the adapter
gets the same rows under the same name again; it must recognise that. `files` writes each batch as a CSV file into a directory, for whatever prints or mails them.

An adapter of your own is passed to `giving`:

    async def mail(batch: str, notices: Sequence[PreNotification]) -> None: ...
"""

import asyncio
import csv
import io
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from tether_core import iban
from tether_core.money import Money
from tether_core.spreadsheet.cells import neutralise
from tether_stores.postgres import Pool, connection, transaction
from tether_stores.recurring import changes, pre_notifications
from tether_stores.recurring.pre_notifications import PreNotification
from tether_stores.telemetry import logger

from tether_worker.jobs.periodic import PeriodicTask

__all__ = ["Adapter", "as_csv", "files", "give_batches", "giving"]

_BATCH: Final = 1_000
_BATCHES_MAX: Final = 20
_COLUMNS: Final = (
    "id",
    "name",
    "email",
    "phone",
    "iban",
    "amount",
    "currency",
    "due_on",
    "give_by",
    "due_item",
    "text",
)

_log = logger("recurring")


class Adapter(Protocol):
    """What gives a batch of pre-notifications to their debtors."""

    async def __call__(self, batch: str, notices: Sequence[PreNotification]) -> None:
        """
        Give a batch; given again under the same name, with some of the same rows, it must not notify anybody twice.

        Args:
            batch: The name of the batch; letters, digits and hyphens.
            notices: What is to be given.

        Raises:
            OSError: when it could not be given; it is tried again.
        """
        ...


def as_csv(notices: Sequence[PreNotification]) -> bytes:
    """The file of a batch: UTF-8 with a byte order mark, semicolons, a header; accounts are masked, and no cell runs as a formula."""
    text = io.StringIO()
    rows = csv.writer(text, delimiter=";", lineterminator="\r\n")
    rows.writerow(_COLUMNS)
    for notice in notices:
        cells = (
            str(notice.id),
            notice.name,
            notice.email or "",
            notice.phone or "",
            iban.mask(notice.iban),
            str(Money(notice.amount_minor, notice.currency).decimal),
            notice.currency,
            notice.due_on.isoformat(),
            notice.give_on.isoformat(),
            notice.due_item,
            notice.text,
        )
        rows.writerow([neutralise(cell) for cell in cells])
    return text.getvalue().encode("utf-8-sig")


def files(directory: Path) -> Adapter:
    """
    The adapter that writes each batch as `BATCH.csv`, readable by its owner only.

    A file appears under its name when it is complete; a batch that is given again replaces its file.

    Args:
        directory: Where; it must exist.
    """

    def write(batch: str, content: bytes) -> None:
        part = directory / f".{batch}.part"
        # A part of a process that died is written anew.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(directory / f"{batch}.csv")

    async def give(batch: str, notices: Sequence[PreNotification]) -> None:
        await asyncio.to_thread(write, batch, as_csv(notices))

    return give


def giving(
    pool: Pool, adapter: Adapter, *, name: str, clock: Callable[[], datetime], token: Callable[[], str]
) -> PeriodicTask:
    """
    Give pre-notifications that are to be given.

    Args:
        adapter: What gives them.
        name: Its name, kept with each of them as proof.
        token: Random letters and digits.
    """

    async def tick() -> None:
        try:
            await give_batches(pool, adapter, name=name, now=clock(), token=token)
        except OSError as exc:
            _log.error("pre-notifications not given", adapter=name, why=type(exc).__name__)

    return PeriodicTask("give_pre_notifications", 20, tick)


async def give_batches(
    pool: Pool, adapter: Adapter, *, name: str, now: datetime, token: Callable[[], str]
) -> int:
    """
    Give all pre-notifications that are to be given, those of interrupted batches first.

    Args:
        adapter: What gives them.
        name: Its name.
        token: Random letters and digits.

    Returns:
        How many were given.

    Raises:
        OSError: when the adapter could not give a batch; it is tried again with the same name.
    """
    async with connection(pool) as conn:
        batches = await pre_notifications.batches(conn, limit=_BATCHES_MAX)
    given = 0
    for batch in batches:
        given += await _give(pool, adapter, batch, name=name, now=now)
    for _ in range(_BATCHES_MAX):
        batch = f"pre-notifications-{now:%Y%m%d-%H%M%S}-{token()}"
        async with transaction(pool) as conn:
            if not await pre_notifications.claim(conn, batch=batch, limit=_BATCH, now=now):
                break
        given += await _give(pool, adapter, batch, name=name, now=now)
    if given:
        _log.info("pre-notifications given", adapter=name, count=given)
    return given


async def _give(pool: Pool, adapter: Adapter, batch: str, *, name: str, now: datetime) -> int:
    async with connection(pool) as conn:
        notices = await pre_notifications.of_batch(conn, batch)
    if not notices:
        return 0
    await adapter(batch, notices)
    async with transaction(pool) as conn:
        return await changes.give_notices(
            conn, [notice.id for notice in notices], given_by=f"{name}: {batch}", now=now
        )
