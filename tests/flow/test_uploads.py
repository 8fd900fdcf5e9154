"""The way of a file through real programs: uploaded to a node, stored in S3, read by a worker, and reported in full."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.objects import Objects
from tether_sandbox.services.server import free_port

from tests.data.spreadsheets import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services.guard import Guard
    from tether_sandbox.services.program import Launch
    from tether_sandbox.services.program import Program as Running

DATA = Path(__file__).parents[1] / "data" / "spreadsheets"


@pytest.fixture
def on_s3(environment: dict[str, str], tmp_path: Path, guard: Guard) -> Iterator[dict[str, str]]:
    """The settings with an S3 endpoint in place of the folder."""
    server = Objects(tmp_path / "s3", guard=guard)
    (tmp_path / "s3").mkdir()
    server.start()
    del environment["TETHER_OBJECTS_DIR"]
    yield environment | server.environment
    server.drop()


@pytest.fixture
def node(process: Launch, on_s3: dict[str, str]) -> Iterator[httpx.Client]:
    """A client of a node that runs as a process of its own."""
    port = free_port()
    web = process("tether-web", "--port", str(port), environ=on_s3)
    web.await_url(f"http://127.0.0.1:{port}/ready")
    key = {"Authorization": "Bearer test-key"}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", headers=key, timeout=60, trust_env=False
    ) as opened:
        yield opened


@pytest.fixture
def worker(process: Launch, on_s3: dict[str, str]) -> Running:
    """A worker that reads uploads."""
    return process("tether-worker", "run", "default", environ=on_s3)


def _list(rows: int, *, seed: int) -> tuple[list[list[str]], int]:
    """Rows of a list, one in ten of them wrong; and how many those are."""
    rng = random.Random(seed)
    lines = []
    for number in range(rows):
        iban = made_up_iban(rng)
        lines.append(
            [
                f"Zoë Groß {number}",
                iban if number % 10 else f"{iban[:-1]}X",
                f"{number % 900 + 1},50",
                f"R{number}",
            ]
        )
    return lines, sum(1 for number in range(rows) if number % 10 == 0)


def _as_csv(lines: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows([["Name", "IBAN", "Betrag", "Referenz"], *lines])
    return text.getvalue().encode("cp1252")


def test_a_file_goes_all_the_way_and_comes_back_corrected(
    node: httpx.Client, worker: Running, until: Callable[..., Any]
) -> None:
    """
    What people do on the first day.

    They try a file, see what it would do, send it in earnest, fetch the report of its problems, mend it in place, and
    send that. In the end every row of the list is a debtor once, and nobody's account number is in any log.
    """
    lines, wrong = _list(3_000, seed=1)

    def read(data: bytes, name: str, **fields: str) -> dict[str, Any]:
        sent = node.post("/api/uploads", files={"file": (name, data)}, data=fields)
        assert sent.status_code == 202, sent.text
        at = sent.json()["links"]["self"]

        def over() -> dict[str, Any] | None:
            payload: dict[str, Any] = node.get(at).json()
            return payload if payload["upload"]["state"] in {"completed", "failed", "needs_answer"} else None

        payload: dict[str, Any] = until(over, what="the end of reading")
        return payload

    tried = read(_as_csv(lines), "list.csv", dry_run="true")
    assert node.get("/api/debtors").json()["items"] == []
    done = read(_as_csv(lines), "list.csv")
    assert done["upload"]["row_counts"] == tried["upload"]["row_counts"]
    counts = done["upload"]["row_counts"]
    assert (counts["rows"], counts["stored"], counts["refused"]) == (3_000, 3_000 - wrong, wrong)

    report = node.get(done["links"]["problems"], params={"format": "csv"})
    header, *refused = csv.reader(io.StringIO(report.content.decode("utf-8-sig")), delimiter=";")
    assert len(refused) == wrong
    rng = random.Random(2)
    mended = [[row[0], made_up_iban(rng), *row[2:]] for row in refused]
    text = io.StringIO()
    csv.writer(text, delimiter=";").writerows([header, *mended])
    second = read(text.getvalue().encode(), "problems.csv")
    assert second["upload"]["row_counts"]["stored"] == wrong

    book = read(make.xlsx({"Liste": make.LIST}), "list.xlsx")
    assert book["upload"]["state"] == "completed"
    hostile = read(make.abort_xlsx(), "evil.xlsx")
    assert hostile["upload"]["failure_code"] == "too_large_inside"
    assert worker.returncode is None
    assert node.get(done["links"]["file"]).content == _as_csv(lines)

    excerpt = worker.stderr + report.headers.get("content-disposition", "")
    assert not [row[1] for row in (*lines, *mended) if row[1] in excerpt or row[0] in excerpt]


def test_a_worker_that_is_stopped_leaves_the_rest_to_the_next(
    node: httpx.Client, worker: Running, on_s3: dict[str, str], process: Launch, until: Callable[..., Any]
) -> None:
    """Nodes are replaced every day; that must neither wait for a large file nor lose its place in it."""
    lines, wrong = _list(120_000, seed=3)
    sent = node.post("/api/uploads", files={"file": ("large.csv", _as_csv(lines))}).json()
    at = sent["links"]["self"]
    until(lambda: node.get(at).json()["upload"]["state"] == "reading", what="the start of reading")
    assert worker.terminate() == 0
    until(lambda: node.get(at).json()["upload"]["state"] in {"reading", "completed"}, what="its state")
    process("tether-worker", "run", "default", environ=on_s3)
    until(lambda: node.get(at).json()["upload"]["state"] == "completed", what="its end", timeout_s=120)
    counts = node.get(at).json()["upload"]["row_counts"]
    assert (counts["rows"], counts["stored"], counts["refused"]) == (120_000, 120_000 - wrong, wrong)
