"""
Files and debits in the chaos test: small lists of debtors handed in all the while, each read, billed, and accounted for.

Each list has good rows, one whose IBAN is none, and one person twice, so that debtors, problems and verdicts all come of it.
It is sent again and again until it is taken; the same bytes twice are the same upload. Some can be read in two ways; their questions are
answered as a person would. Once it was read its debtors are
billed over the simulator, and that too is ordered again until it is taken: a second run finds nothing left to bill.
"""

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import httpx
import msgspec
import psycopg
from tether_core.errors import StoreUnreachable
from tether_stores.objects import listed, open_objects
from tether_stores.queries import split_file
from tether_stores.settings import Settings

from tether_sandbox.chaos.stage import Stage
from tether_sandbox.conservation import Line
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.waiting import eventually
from tether_sandbox.settings import API_KEY

__all__ = [
    "ROWS",
    "Debit",
    "File",
    "Handing",
    "Ledgers",
    "all_billed",
    "all_read",
    "check_debits",
    "check_files",
    "debit_lines",
    "file_lines",
    "sheet",
]

_SQL = split_file("tether_sandbox", "sql/chaos")

ROWS: Final = 20
_EVERY_S: Final = 2.0
# Of so many files some have to be answered for.
_AMBIGUOUS: Final = 0.2
_THOUSANDS: Final = 234
_AGAIN_S: Final = 0.3
_ENDED: Final = frozenset({"completed", "failed", "withdrawn"})
# A call that has not ended by then never will: the time until it begins, its time limit, and a frozen worker's sleep.
_CALL_S: Final = 25.0


class File(msgspec.Struct, frozen=True):
    """A row of query `files`."""

    id: int
    state: str
    object_key: str
    rows_of_debtors: int
    rows_refused: int
    debtors: int


def sheet(rng: random.Random, *, is_ambiguous: bool = False) -> bytes:
    """
    A list of `ROWS` rows.

    Args:
        rng: Where accounts and amounts come from.
        is_ambiguous: Whether its amounts can be read in two ways, as 1.234 can.

    Returns:
        CSV with a header.
    """
    ibans = [made_up_iban(rng) for _ in range(ROWS)]
    ibans[7], ibans[-1] = "DE00", ibans[0]
    cents = f".{_THOUSANDS}" if is_ambiguous else ",50"
    most = 9 if is_ambiguous else 900
    lines = [f"Person {rng.randrange(10**12)};{iban};{rng.randrange(1, most)}{cents}" for iban in ibans]
    return "\n".join(["Name;IBAN;Betrag", *lines]).encode()


class Handing:
    """
    Hands in one file after the other until told to stop, and has each billed.

    Attributes:
        taken: The uploads that were acknowledged.
        runs: The billing runs that were acknowledged.
        answered: The uploads that had questions, and were answered.
        unanswered: Files sent that nobody acknowledged; each may have left an object.
    """

    def __init__(self, stage: Stage, *, rng: random.Random) -> None:
        self._stage = stage
        self._rng = rng
        self._to_bill = asyncio.Queue[int | None]()
        self.taken: list[int] = []
        self.runs: list[int] = []
        self.answered: set[int] = set()
        self.unanswered = 0

    async def until(self, stopping: asyncio.Event) -> None:
        """Hand in a file every two seconds, and bill those that were read; what is not taken is sent again."""
        async with self._client() as client, asyncio.TaskGroup() as group:
            group.create_task(self._bill(client))
            while not stopping.is_set():
                await self._hand_in(client)
                try:
                    await asyncio.wait_for(stopping.wait(), _EVERY_S)
                except TimeoutError:
                    continue
            self._to_bill.put_nowait(None)

    async def fresh(self) -> None:
        """Have one more file taken and read to its end, however long that takes."""
        async with self._client() as client:
            await self._read(client, await self._hand_in(client))

    def _client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {API_KEY}"}
        return httpx.AsyncClient(base_url=self._stage.front.url, timeout=10, headers=headers, trust_env=False)

    async def _hand_in(self, client: httpx.AsyncClient) -> int:
        is_ambiguous = self._rng.random() < _AMBIGUOUS
        files = {"file": ("list.csv", sheet(self._rng, is_ambiguous=is_ambiguous))}
        upload_id: int = (await self._call(client, "POST", "/api/uploads", files=files))["upload"]["id"]
        self.taken.append(upload_id)
        self._to_bill.put_nowait(upload_id)
        return upload_id

    async def _read(self, client: httpx.AsyncClient, upload_id: int) -> None:
        while True:
            notification = await self._call(client, "GET", f"/api/uploads/{upload_id}")
            if notification["upload"]["state"] in _ENDED:
                return
            if notification["upload"]["state"] == "needs_answer":
                await self._answer(client, upload_id, notification["plan"]["questions"])
            await asyncio.sleep(_AGAIN_S)

    async def _answer(
        self, client: httpx.AsyncClient, upload_id: int, questions: Sequence[Mapping[str, Any]]
    ) -> None:
        """Answer once; whether the answer arrived, the upload's state says."""
        body: dict[str, dict[str, str]] = {}
        for question in questions:
            part, _, subject = question["answer"].rpartition(".")
            if part == "screening":
                body.setdefault(part, {})[subject] = "take"
            else:
                body.setdefault("formats", {})[question["answer"]] = "comma"
        with contextlib.suppress(httpx.HTTPError):
            response = await client.post(f"/api/uploads/{upload_id}/answers", json=body)
            if response.status_code == 202:
                self.answered.add(upload_id)

    async def _bill(self, client: httpx.AsyncClient) -> None:
        while (upload_id := await self._to_bill.get()) is not None:
            await self._read(client, upload_id)
            order = {"due_item": "chaos", "usage": "Chaos"}
            notification = await self._call(client, "POST", f"/api/uploads/{upload_id}/billing", json=order)
            self.runs.append(notification["id"])

    async def _call(self, client: httpx.AsyncClient, method: str, path: str, **content: Any) -> Any:
        """What is answered to a request that is sent again until it is taken."""
        while True:
            try:
                answer = await client.request(method, path, **content)
            except httpx.HTTPError:
                answer = None
            if answer is not None and answer.status_code in {200, 202}:
                return answer.json()
            self.unanswered += "files" in content
            await asyncio.sleep(_AGAIN_S)


def _files(database_url: str) -> list[File]:
    with psycopg.connect(database_url) as conn:
        return [File(*row) for row in conn.execute(_SQL["files"])]


def all_read(database_url: str) -> bool:
    """
    Whether every file has been read to its end, well or badly.

    Args:
        database_url: Of the stage.

    Returns:
        Whether none is on its way any more.
    """
    # One that waits for an answer that nobody gives has not been read; the books say so.
    return all(_file.state in {*_ENDED, "needs_answer"} for _file in _files(database_url))


async def check_files(stage: Stage, handing: Handing) -> tuple[list[Line], int]:
    """
    Hold what was handed in against what became of it.

    Args:
        stage: Where.
        handing: What was handed in.

    Returns:
        The lines of the check, and how many objects no row speaks of: those of files that were not acknowledged.
    """
    files = _files(stage.database_url)
    store = open_objects(Settings.from_env(stage.environ))
    there = {item.key async for item in listed(store, "uploads")}
    lines = file_lines(files, taken=handing.taken, there=there, unanswered=handing.unanswered)
    return lines, len(there - {file.object_key for file in files})


def file_lines(
    files: Sequence[File], *, taken: Sequence[int], there: set[str], unanswered: int = 0
) -> list[Line]:
    """
    Hold what was handed in against what became of it.

    Args:
        files: What became of every file.
        taken: The uploads that were acknowledged.
        there: The keys of the objects that exist.
        unanswered: Files sent that nobody acknowledged; each may have left an object.

    Returns:
        The lines of the check.
    """
    completed = [file for file in files if file.state == "completed"]
    unnamed = there - {file.object_key for file in files}
    partial = [item.id for item in completed if item.rows_of_debtors + item.rows_refused != ROWS]
    return [
        Line(
            "files acknowledged = uploads stored, read",
            len(taken),
            len({o.id for o in completed} & set(taken)),
        ),
        Line(
            "their rows = debtors + problems",
            ROWS * len(completed),
            sum(o.rows_of_debtors + o.rows_refused for o in completed),
            note=f"not so in {partial[:3]}" if partial else "",
        ),
        Line("rows that became a debtor twice", 0, sum(o.debtors - o.rows_of_debtors for o in completed)),
        Line("uploads whose object is missing", 0, len({file.object_key for file in files} - there)),
        Line("objects nobody names, beyond files not acknowledged", 0, max(len(unnamed) - unanswered, 0)),
    ]


class Debit(msgspec.Struct, frozen=True):
    """A row of query `debits`."""

    transaction_id: str
    unique_id: str | None
    debtor_id: int
    run_id: int
    state: str
    amount_minor: int


def _debits(database_url: str) -> list[Debit]:
    with psycopg.connect(database_url) as conn:
        return [Debit(*row) for row in conn.execute(_SQL["debits"])]


async def all_billed(stage: Stage, *, timeout_s: float) -> None:
    """
    Wait until each debit's outcome is known; once nothing is being sent any more, an hour passes at a time.

    Args:
        stage: Where.
        timeout_s: How long at most.

    Raises:
        TimeoutError: when some outcome stays open.
    """

    def none_is_open() -> bool:
        with psycopg.connect(stage.database_url) as conn:
            row = conn.execute(_SQL["open_debits"]).fetchone()
            assert row is not None
            unplanned, ready, leased, left = row
            now = datetime.now(UTC)
            if leased:
                conn.execute(_SQL["leases_run_out"], {"now": now, "call_s": _CALL_S})
            elif left and not ready and not unplanned:
                conn.execute(_SQL["an_hour_passes"], {"now": now})
        return not unplanned and not left

    await asyncio.to_thread(stage.gateway.resolve)
    await eventually(
        none_is_open,
        what="every debit's outcome",
        timeout_s=timeout_s,
        despite=(psycopg.OperationalError, StoreUnreachable),
    )
    # What was sent only now has its result ahead of it.
    await asyncio.to_thread(stage.gateway.resolve)


class Ledgers(msgspec.Struct, frozen=True):
    """
    What our books and the gateway's say of debits.

    Attributes:
        orders: The billing runs that were acknowledged.
        runs: The billing runs stored.
        owing: The debtors that were to be billed.
        debits: Ours.
        records: The gateway's: transaction_id, unique_id, status and amount_minor of each.
        twice: Transaction ids under which the gateway took money twice.
        unbooked: Why notifications of debits were not applied.
        notified: Notifications of debits that the gateway sent and saw acknowledged.
        heard: Those stored, and how many different ones.
    """

    orders: set[int]
    runs: set[int]
    owing: set[int]
    debits: Sequence[Debit]
    records: Sequence[tuple[str, str, str, int]]
    twice: Sequence[str] = ()
    unbooked: Sequence[str] = ()
    notified: int = 0
    heard: tuple[int, int] = (0, 0)


def check_debits(stage: Stage, records: Sequence[Mapping[str, Any]], *, runs: Sequence[int]) -> list[Line]:
    """
    Hold our debits against the gateway's own ledger.

    Args:
        stage: Where.
        records: Those of the gateway's records that are of debits sent here.
        runs: The billing runs that were acknowledged.

    Returns:
        The lines of the check.
    """
    with psycopg.connect(stage.database_url) as conn:
        ordered = {run_id for (run_id,) in conn.execute(_SQL["runs"])}
        owing = {debtor_id for (debtor_id,) in conn.execute(_SQL["owing"])}
        unbooked = [why for (why,) in conn.execute(_SQL["unbooked"])]
        heard = conn.execute(_SQL["heard"]).fetchone()
        assert heard is not None
    theirs = [
        (
            record["order"]["transaction_id"],
            record["unique_id"],
            record["status"],
            record["order"]["amount_minor"],
        )
        for record in records
    ]
    sums = stage.gateway.sums()
    return debit_lines(
        Ledgers(
            set(runs),
            ordered,
            owing,
            _debits(stage.database_url),
            theirs,
            sums["debited_twice"],
            unbooked,
            sums["notifications"].get("acknowledged", 0),
            (heard[0], heard[1]),
        )
    )


def debit_lines(ledgers: Ledgers) -> list[Line]:
    """
    Hold our debits against the gateway's own ledger.

    Args:
        ledgers: Both books.

    Returns:
        The lines of the check.
    """
    debits = ledgers.debits
    ours = {(debit.transaction_id, debit.unique_id, debit.state, debit.amount_minor) for debit in debits}
    theirs = set(ledgers.records)
    debited = {debit.debtor_id for debit in debits}
    strangers = len(debited - ledgers.owing)
    return [
        Line(
            "billing orders acknowledged = runs stored",
            len(ledgers.orders),
            len(ledgers.orders & ledgers.runs),
        ),
        Line(
            "debtors of billed files = debtors debited",
            len(ledgers.owing),
            len(ledgers.owing & debited),
            note=f"{strangers} others were debited" if strangers else "",
        ),
        Line("debtors with two debits", 0, len(debits) - len(debited)),
        Line(
            "debited twice by the gateway's ledger", 0, len(ledgers.twice), note="; ".join(ledgers.twice[:3])
        ),
        Line("debits = records of the ledger", len(debits), len(ledgers.records)),
        Line("debits that stand as the ledger has them, to the cent", len(ours), len(ours & theirs)),
        Line("notifications of debits acknowledged = their rows", ledgers.notified, ledgers.heard[0]),
        Line("those rows = different notifications", ledgers.heard[0], ledgers.heard[1]),
        Line(
            "notifications of debits not applied",
            0,
            len(ledgers.unbooked),
            note="; ".join(ledgers.unbooked[:3]),
        ),
    ]
