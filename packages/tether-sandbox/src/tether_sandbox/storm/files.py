"""
Files in the storm: small lists of debtors handed in all the while, and whether every row of each is accounted for.

Each list has good rows, one whose IBAN is none, and one person twice, so that debtors, problems and verdicts all come of it.
It is sent again and again until it is taken; the same bytes twice are the same upload.
"""

import asyncio
import random
from pathlib import Path
from typing import Final

import httpx
import msgspec
import psycopg
from tether_stores.queries import split_file

from tether_sandbox.conservation import Line
from tether_sandbox.seed import made_up_iban
from tether_sandbox.settings import API_KEY
from tether_sandbox.storm.stage import Stage

__all__ = ["ROWS", "Handing", "all_read", "check_files", "sheet"]

_SQL = split_file("tether_sandbox", "storm")

ROWS: Final = 40
_EVERY_S: Final = 2.0
_AGAIN_S: Final = 0.3


class _File(msgspec.Struct, frozen=True):
    """A row of query `files`."""

    id: int
    state: str
    object_key: str
    rows_read: int
    rows_of_debtors: int
    rows_refused: int
    debtors: int


def sheet(chance: random.Random) -> bytes:
    """
    A list of `ROWS` rows.

    Args:
        chance: Where accounts and amounts come from.

    Returns:
        CSV with a header.
    """
    ibans = [made_up_iban(chance) for _ in range(ROWS)]
    ibans[7], ibans[-1] = "DE00", ibans[0]
    lines = [f"Person {chance.randrange(10**12)};{iban};{chance.randrange(1, 900)},50" for iban in ibans]
    return "\n".join(["Name;IBAN;Betrag", *lines]).encode()


class Handing:
    """
    Hands in one file after the other until told to stop.

    Attributes:
        taken: The uploads that were acknowledged.
        tries: Requests it took.
    """

    def __init__(self, stage: Stage, *, chance: random.Random) -> None:
        self._stage = stage
        self._chance = chance
        self.taken: list[int] = []
        self.tries = 0

    async def until(self, stopping: asyncio.Event) -> None:
        """Hand in a file every two seconds; one that is not taken is sent again."""
        headers = {"authorization": f"Bearer {API_KEY}"}
        async with httpx.AsyncClient(timeout=10, headers=headers, trust_env=False) as client:
            while not stopping.is_set():
                self.taken.append(await self._handed_in(client, sheet(self._chance)))
                try:
                    await asyncio.wait_for(stopping.wait(), _EVERY_S)
                except TimeoutError:
                    continue

    async def _handed_in(self, client: httpx.AsyncClient, content: bytes) -> int:
        while True:
            self.tries += 1
            try:
                answer = await client.post(
                    f"{self._stage.front.url}/api/uploads", files={"file": ("list.csv", content)}
                )
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code in {200, 202}:
                upload_id: int = answer.json()["upload"]["id"]
                return upload_id
            await asyncio.sleep(_AGAIN_S)


def _files(database_url: str) -> list[_File]:
    with psycopg.connect(database_url) as conn:
        return [_File(*row) for row in conn.execute(_SQL["files"])]


def all_read(database_url: str) -> bool:
    """
    Whether every file has been read to its end, well or badly.

    Args:
        database_url: Of the stage.

    Returns:
        Whether none is on its way any more.
    """
    return all(one.state in {"completed", "failed"} for one in _files(database_url))


def check_files(database_url: str, *, taken: list[int], objects: Path) -> tuple[list[Line], int]:
    """
    Hold what was handed in against what became of it.

    Args:
        database_url: Of the stage.
        taken: The uploads that were acknowledged.
        objects: The folder of objects.

    Returns:
        The lines of the check, and how many objects no row speaks of: those of files that were not acknowledged.
    """
    files = _files(database_url)
    completed = [one for one in files if one.state == "completed"]
    there = {str(path.relative_to(objects)) for path in objects.rglob("*") if path.is_file()}
    named = {one.object_key for one in files}
    lines = [
        Line(
            "files acknowledged = uploads on record, read",
            len(set(taken)),
            len({o.id for o in completed} & set(taken)),
        ),
        Line(
            "their rows = debtors + problems",
            ROWS * len(completed),
            sum(o.rows_of_debtors + o.rows_refused for o in completed),
        ),
        Line("rows that became a debtor twice", 0, sum(o.debtors - o.rows_of_debtors for o in completed)),
        Line("uploads whose object is missing", 0, len(named - there)),
    ]
    return lines, len(there - named)
