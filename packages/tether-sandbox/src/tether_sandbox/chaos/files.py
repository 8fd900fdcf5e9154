"""
Files and debits in the chaos test: small files are uploaded, read and billed all the time, and accounted for.

Each file has good rows, one with an invalid IBAN, and one person twice, so it gives debtors, problems and verdicts. It is sent
until it is accepted; the same bytes twice are the same upload. Some files are ambiguous; their questions are answered as a person
would. After a file was read its debtors are billed through the simulator; that request, too, is repeated until it is accepted, with
the same `Idempotency-Key`.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec
import psycopg
from tether_core.errors import StoreUnreachable
from tether_stores.objects import listed, open_objects
from tether_stores.queries import split_file
from tether_stores.settings import Settings

from tether_sandbox.chaos.stage import Stage
from tether_sandbox.conservation import BooksLine
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.waiting import eventually
from tether_sandbox.settings import API_KEY

__all__ = [
    "ROWS",
    "Debit",
    "File",
    "Ledgers",
    "Uploader",
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
# Share of the files that have questions.
_AMBIGUOUS: Final = 0.2
_THOUSANDS: Final = 234
_AGAIN_S: Final = 0.3
_ENDED: Final = frozenset({"completed", "failed", "withdrawn"})
# Longest duration of a gateway call: the wait before it, its time limit, and the time a worker is frozen.
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
    A CSV file of `ROWS` rows with a header.

    Args:
        is_ambiguous: Whether its amounts can be read in two ways, as 1.234 can.
    """
    ibans = [made_up_iban(rng) for _ in range(ROWS)]
    ibans[7], ibans[-1] = "DE00", ibans[0]
    cents = f".{_THOUSANDS}" if is_ambiguous else ",50"
    most = 9 if is_ambiguous else 900
    lines = [f"Person {rng.randrange(10**12)};{iban};{rng.randrange(1, most)}{cents}" for iban in ibans]
    return "\n".join(["Name;IBAN;Betrag", *lines]).encode()


class Uploader:
    """
    Uploads one file after another until stopped, and bills each.

    Attributes:
        acknowledged: The acknowledged uploads.
        runs: The acknowledged billing runs.
        answered: The uploads whose questions were answered.
        unanswered: Requests with a file that were not acknowledged; each may have left an object.
    """

    def __init__(self, stage: Stage, *, rng: random.Random) -> None:
        self._stage = stage
        self._rng = rng
        self._to_bill = asyncio.Queue[int | None]()
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._working = 0
        self._idle = asyncio.Condition()
        self.acknowledged: list[int] = []
        self.runs: list[int] = []
        self.answered: set[int] = set()
        self.unanswered = 0

    async def until(self, stopping: asyncio.Event) -> None:
        """Upload a file every two seconds, and bill those that were read; retry until accepted."""
        async with self._client() as client, asyncio.TaskGroup() as group:
            group.create_task(self._bill(client))
            while not stopping.is_set():
                async with self._work():
                    self._to_bill.put_nowait(await self._upload(client))
                try:
                    await asyncio.wait_for(stopping.wait(), _EVERY_S)
                except TimeoutError:
                    continue
            self._to_bill.put_nowait(None)

    async def probe(self) -> int:
        """Upload a file and wait until it is read; returns the upload, which `bill` may be given."""
        async with self._client() as client:
            upload_id = await self._upload(client)
            await self._read(client, upload_id)
        return upload_id

    def bill(self, upload_id: int) -> None:
        """Have an upload billed after those before."""
        self._to_bill.put_nowait(upload_id)

    async def pause(self) -> None:
        """Upload and order nothing more, and wait until what was begun is acknowledged."""
        self._is_open.clear()
        async with self._idle:
            await self._idle.wait_for(lambda: not self._working)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._is_open.set()

    async def order_alone(self) -> None:
        """Upload a file, wait until it is read, and order its run, while everything else is paused."""
        async with self._client() as client:
            upload_id = await self._upload(client)
            await self._read(client, upload_id)
            await self._order(client, upload_id)

    @contextlib.asynccontextmanager
    async def _work(self) -> AsyncIterator[None]:
        await self._is_open.wait()
        self._working += 1
        try:
            yield
        finally:
            async with self._idle:
                self._working -= 1
                self._idle.notify_all()

    def _client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {API_KEY}"}
        return httpx.AsyncClient(base_url=self._stage.front.url, timeout=10, headers=headers, trust_env=False)

    async def _upload(self, client: httpx.AsyncClient) -> int:
        is_ambiguous = self._rng.random() < _AMBIGUOUS
        files = {"file": ("list.csv", sheet(self._rng, is_ambiguous=is_ambiguous))}
        upload_id: int = (await self._call(client, "POST", "/api/uploads", files=files))["upload"]["id"]
        self.acknowledged.append(upload_id)
        return upload_id

    async def _read(self, client: httpx.AsyncClient, upload_id: int) -> None:
        while True:
            detail = await self._call(client, "GET", f"/api/uploads/{upload_id}")
            if detail["upload"]["state"] in _ENDED:
                return
            if detail["upload"]["state"] == "needs_answer":
                await self._answer(client, upload_id, detail["plan"]["questions"])
            await asyncio.sleep(_AGAIN_S)

    async def _answer(
        self, client: httpx.AsyncClient, upload_id: int, questions: Sequence[Mapping[str, Any]]
    ) -> None:
        """Answer the questions once; the upload's state says whether the answer arrived."""
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
            async with self._work():
                await self._read(client, upload_id)
                await self._order(client, upload_id)

    async def _order(self, client: httpx.AsyncClient, upload_id: int) -> None:
        order = {"due_item": "chaos", "usage": "Chaos"}
        run = await self._call(
            client,
            "POST",
            f"/api/uploads/{upload_id}/billing",
            json=order,
            headers={"idempotency-key": f"chaos-{upload_id}"},
        )
        self.runs.append(run["id"])

    async def _call(self, client: httpx.AsyncClient, method: str, path: str, **content: Any) -> Any:
        """Repeat a request until it is accepted; returns the response."""
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
    """Whether no upload is being read any more."""
    # An upload that waits for an answer counts as finished here; the conservation check reports it.
    return all(file.state in {*_ENDED, "needs_answer"} for file in _files(database_url))


async def check_files(stage: Stage, uploader: Uploader) -> tuple[list[BooksLine], int]:
    """
    Compare the uploaded files with the stored rows.

    Returns:
        The lines of the check, and the number of objects without a row: those of files that were not acknowledged.
    """
    files = _files(stage.database_url)
    store = open_objects(Settings.from_env(stage.environ))
    objects = {item.key async for item in listed(store, "uploads")}
    lines = file_lines(
        files, acknowledged=uploader.acknowledged, objects=objects, unanswered=uploader.unanswered
    )
    return lines, len(objects - {file.object_key for file in files})


def file_lines(
    files: Sequence[File], *, acknowledged: Sequence[int], objects: set[str], unanswered: int = 0
) -> list[BooksLine]:
    """
    Compare the uploaded files with the stored rows.

    Args:
        files: The stored uploads.
        acknowledged: The acknowledged uploads.
        objects: The keys of the stored objects.
        unanswered: Requests with a file that were not acknowledged; each may have left an object.

    Returns:
        The lines of the check.
    """
    completed = [file for file in files if file.state == "completed"]
    unnamed = objects - {file.object_key for file in files}
    partial = [item.id for item in completed if item.rows_of_debtors + item.rows_refused != ROWS]
    return [
        BooksLine(
            "files acknowledged = uploads completed",
            len(acknowledged),
            len({file.id for file in completed} & set(acknowledged)),
        ),
        BooksLine(
            "their rows = debtors + problems",
            ROWS * len(completed),
            sum(file.rows_of_debtors + file.rows_refused for file in completed),
            note=f"uploads {partial[:3]} differ" if partial else "",
        ),
        BooksLine("rows with two debtors", 0, sum(file.debtors - file.rows_of_debtors for file in completed)),
        BooksLine("uploads without their object", 0, len({file.object_key for file in files} - objects)),
        BooksLine("orphaned objects, beyond files not acknowledged", 0, max(len(unnamed) - unanswered, 0)),
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
    Wait until the outcome of each debit is known; when nothing is being submitted, move time forward by an hour at a time.

    Raises:
        TimeoutError: when an outcome stays unknown; the message says how many, and why.
    """

    def none_is_open() -> bool:
        with psycopg.connect(stage.database_url) as conn:
            row = conn.execute(_SQL["open_debits"]).fetchone()
            assert row is not None
            unplanned, ready, leased, left = row
            now = conn.execute(_SQL["now"]).fetchone()
            assert now is not None
            if leased:
                conn.execute(_SQL["expire_leases"], {"now": now[0], "call_s": _CALL_S})
            elif left and not ready and not unplanned:
                conn.execute(_SQL["pass_hour"], {"now": now[0]})
        return not unplanned and not left

    await asyncio.to_thread(stage.gateway.resolve)
    try:
        await eventually(
            none_is_open,
            what="every debit's outcome",
            timeout_s=timeout_s,
            despite=(psycopg.OperationalError, StoreUnreachable),
        )
    except TimeoutError as exc:
        with psycopg.connect(stage.database_url) as conn:
            unresolved = conn.execute(_SQL["unresolved_debits"]).fetchall()
        raise TimeoutError(f"{exc}; {unresolved}") from exc
    # Debits that were submitted meanwhile have pending results.
    await asyncio.to_thread(stage.gateway.resolve)


class Ledgers(msgspec.Struct, frozen=True):
    """
    The debits in Tether's tables and in the gateway's ledger.

    Attributes:
        orders: The acknowledged billing runs.
        runs: The stored billing runs.
        billable: The debtors to be billed.
        debits: Tether's attempts.
        records: The gateway's records: transaction_id, unique_id, status and amount_minor of each.
        twice: Transaction ids for which the gateway took money twice.
        not_applied: State and reason of the notifications of debits that are not applied.
        notified: Acknowledged notifications of debits, counted by the gateway.
        stored: Number of stored ones, and of different ones.
    """

    orders: set[int]
    runs: set[int]
    billable: set[int]
    debits: Sequence[Debit]
    records: Sequence[tuple[str, str, str, int]]
    twice: Sequence[str] = ()
    not_applied: Sequence[str] = ()
    notified: int = 0
    stored: tuple[int, int] = (0, 0)


def check_debits(
    stage: Stage, records: Sequence[Mapping[str, Any]], *, runs: Sequence[int]
) -> list[BooksLine]:
    """
    Compare Tether's debits with the gateway's ledger.

    Args:
        records: The gateway's records of debits of billing runs.
        runs: The acknowledged billing runs.

    Returns:
        The lines of the check.
    """
    with psycopg.connect(stage.database_url) as conn:
        ordered = {run_id for (run_id,) in conn.execute(_SQL["runs"])}
        billable = {debtor_id for (debtor_id,) in conn.execute(_SQL["billable"])}
        not_applied = [why for (why,) in conn.execute(_SQL["not_applied"])]
        stored = conn.execute(_SQL["stored"]).fetchone()
        assert stored is not None
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
            billable,
            _debits(stage.database_url),
            theirs,
            sums["debited_twice"],
            not_applied,
            sums["notifications"].get("acknowledged", 0),
            (stored[0], stored[1]),
        )
    )


def debit_lines(ledgers: Ledgers) -> list[BooksLine]:
    """
    Compare Tether's debits with the gateway's ledger.

    Returns:
        The lines of the check.
    """
    debits = ledgers.debits
    ours = {(debit.transaction_id, debit.unique_id, debit.state, debit.amount_minor) for debit in debits}
    theirs = set(ledgers.records)
    debited = {debit.debtor_id for debit in debits}
    others = len(debited - ledgers.billable)
    return [
        BooksLine(
            "billing requests acknowledged = runs stored",
            len(ledgers.orders),
            len(ledgers.orders & ledgers.runs),
        ),
        BooksLine(
            "debtors of billed files = debtors debited",
            len(ledgers.billable),
            len(ledgers.billable & debited),
            note=f"{others} others were debited" if others else "",
        ),
        BooksLine("debtors with two debits", 0, len(debits) - len(debited)),
        BooksLine(
            "debited twice in the gateway's ledger", 0, len(ledgers.twice), note="; ".join(ledgers.twice[:3])
        ),
        BooksLine("debits = records of the ledger", len(debits), len(ledgers.records)),
        BooksLine("debits with the ledger's status and amount", len(ours), len(ours & theirs)),
        BooksLine("notifications of debits acknowledged = rows", ledgers.notified, ledgers.stored[0]),
        BooksLine("those rows = different notifications", ledgers.stored[0], ledgers.stored[1]),
        BooksLine(
            "notifications of debits not applied",
            0,
            len(ledgers.not_applied),
            note="; ".join(ledgers.not_applied[:3]),
        ),
    ]
