"""Uploads over HTTP: files are stored once, completely or not at all; and their status."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import html
import io
import socket
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import psycopg
import pytest
import python_calamine
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import Debtor, Plan, Rules, reading, rows
from tether_sandbox.services.server import free_port
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool
from tether_stores.settings import Settings
from tether_web.http.multipart import FILE_PART
from tether_worker.uploads.intake import Intake, read_one
from tether_worker.uploads.reader import ReaderLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from tether_sandbox.services.program import Launch

    from tests.web.conftest import Serve

DE, AT = "DE89370400440532013000", "AT611904300234573201"
GOOD = f"Name;IBAN;Betrag\nZoë Groß;{DE};12,50\nA B;{AT};3,00\n".encode()
BAD = (
    f"Name;IBAN;Betrag;Verwendungszweck\nZoë;{DE[:-1]}1;12,50;=1+1\nA B;{AT};3,00;\n;;0,00;-x\n"
    f"C D;{AT};1,00;\nE F;NL91ABNA0417164300;n/a;\n"
).encode()
KEY = {"Authorization": "Bearer test-key"}
Files = dict[str, tuple[str, bytes]]


@pytest.fixture
async def api(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that shows its key."""
    client.headers.update(KEY)
    return client


@pytest.fixture
def stored(objects_dir: Path) -> Callable[[], list[Path]]:
    """Every file in the object store."""
    return lambda: [path for path in objects_dir.rglob("*") if path.is_file()]


def file(data: bytes = GOOD, name: str = "Debitoren März.csv") -> Files:
    """The part of a form that holds a file."""
    return {FILE_PART: (name, data)}


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    """Ask the database."""
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query).fetchall()


async def read_all(environment: Mapping[str, str]) -> None:
    """Read all uploads that wait, as the worker does."""
    settings = Settings.from_env(environment)
    async with open_pool(settings.database_url, name="tests", max_size=2) as pool:
        deps = Intake(
            pool=pool,
            objects=open_objects(settings),
            clock=lambda: datetime.now(UTC),
            token=lambda: "lease",
            fingerprint_key=b"",
            policy=ScreeningPolicy(),
            rules=Rules(),
            limits=ReaderLimits(1 << 30, 20),
        )
        while await read_one(deps):
            pass


@pytest.fixture
async def read(api: httpx.AsyncClient, environment: dict[str, str]) -> Callable[..., Any]:
    """Send a file, have it read, and return the upload."""

    async def sent(data: bytes = GOOD, **payload: Any) -> dict[str, Any]:
        answer = await api.post(
            "/api/uploads", files=file(data, payload.pop("name", "list.csv")), data=payload
        )
        assert answer.status_code == 202, answer.text
        await read_all(environment)
        detail: dict[str, Any] = (await api.get(answer.json()["links"]["self"])).json()
        return detail

    return sent


# --- in ---


async def test_a_file_is_stored_whole_and_put_stored(
    api: httpx.AsyncClient, stored: Callable[[], list[Path]], database_url: str, redis_url: str
) -> None:
    """The worker and every later question go by this row and these bytes; the wake-up is what makes it start at once."""
    data = b"Name;IBAN\n" * 700_000
    answer = await api.post("/api/uploads", files=file(data), data={"encoding": "cp1252", "dry_run": "true"})
    payload = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == payload["links"]["self"] == f"/api/uploads/{payload['id']}"
    assert payload["upload"]["id"] == payload["id"]
    (path,) = stored()
    assert path.read_bytes() == data
    assert path.suffix == ".csv"
    assert ask(
        database_url,
        "select id, filename, size_bytes, sha256, state, dry_run, added_by, answers->>'encoding', object_key from uploads",
    ) == [
        (
            payload["id"], "Debitoren März.csv", len(data), hashlib.sha256(data).digest(), "received", True,
            "tests", "cp1252", path.relative_to(path.parents[4]).as_posix(),
        )
    ]  # fmt: skip
    import redis

    with redis.Redis.from_url(redis_url) as cache:
        assert [key for key in cache.scan_iter() if b"saq:job:default:read_uploads" in key]


async def test_the_same_file_again_is_the_upload_stored(
    api: httpx.AsyncClient, stored: Callable[[], list[Path]]
) -> None:
    """A double click must not import a list twice; with other answers, or by force, it is another upload."""

    async def send(**fields: str) -> tuple[int, int, str | None]:
        answer = await api.post("/api/uploads", files=file(), data=fields)
        payload = answer.json()
        return answer.status_code, payload["id"], payload.get("note")

    status, first, note = await send()
    assert (status, note) == (202, None)
    status, again, note = await send()
    assert (status, again) == (200, first)
    assert note is not None
    assert "force=true" in note
    others = [
        await send(mapping='{"iban": 2}'),
        await send(dry_run="true"),
        await send(force="true"),
        await send(force="true"),
    ]
    assert [status for status, _, _ in others] == [202] * 4
    assert len({first, *(found for _, found, _ in others)}) == 5
    assert len(stored()) == 5
    assert (await send(mapping='{"iban": 2}'))[0] == 200


async def test_the_same_file_sent_by_many_at_once_is_one_upload(
    api: httpx.AsyncClient, stored: Callable[[], list[Path]]
) -> None:
    """Two people send the list of the day in the same second; check-then-insert would take both."""
    answers = await asyncio.gather(*(api.post("/api/uploads", files=file()) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [202]
    assert len({answer.json()["upload"]["id"] for answer in answers}) == 1
    assert len(stored()) == 1


async def test_a_file_above_the_limit_is_refused_and_leaves_nothing(
    serving: Serve, environment: dict[str, str], stored: Callable[[], list[Path]], database_url: str
) -> None:
    """The limit holds regardless of Content-Length; a truncated file must not be read."""

    async def slowly(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    async with serving({**environment, "TETHER_UPLOAD_MAX_BYTES": "2000000"}) as small:
        small.headers.update(KEY)
        form = small.build_request("POST", "/api/uploads", files=file(bytes(2_000_001)))
        body, kind = form.read(), {"content-type": form.headers["content-type"]}
        undeclared = await small.post("/api/uploads", content=slowly(body), headers=kind)
        declared = await small.post("/api/uploads", content=b"", headers={**kind, "content-length": "9" * 12})
        exactly = await small.post("/api/uploads", files=file(bytes(2_000_000)))
    assert (undeclared.status_code, declared.status_code, exactly.status_code) == (413, 413, 202)
    assert "2,000,000 bytes" in undeclared.json()["detail"]
    assert undeclared.json()["code"] == "too_large"
    assert len(stored()) == 1
    assert ask(database_url, "select count(*) from uploads") == [(1,)]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"mapping": "["}, "mapping"),
        ({"mapping": '{"iban": 1.5}'}, "mapping"),
        ({"formats": '{"amount_format": "roman"}'}, "amount_format"),
        ({"formats": '{"columns": "x"}'}, "columns"),
        ({"formats": '{"colour": "red"}'}, "colour"),
        ({"collect": '{"S/H": "S"}'}, "lists of words"),
        ({"dry_run": "perhaps"}, "dry_run"),
        ({"maping": "{}"}, "maping"),
        ({"mapping": "x" * 70_000}, "mapping"),
    ],
    ids=lambda item: str(item)[:40],
)
async def test_answers_that_cannot_be_meant_are_refused_and_leave_nothing(
    api: httpx.AsyncClient, stored: Callable[[], list[Path]], fields: dict[str, str], word: str
) -> None:
    """A misspelt field taken for none would import a list by guesses its sender had ruled out."""
    answer = await api.post("/api/uploads", files=file(), data=fields)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]
    assert stored() == []


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "application/json", 422),
        (b"", "multipart/form-data", 422),
        (b"--x\r\n", "multipart/form-data; boundary=x", 400),
        (b"--x--\r\n", "multipart/form-data; boundary=x", 422),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nName;IBAN',
            "multipart/form-data; boundary=x",
            400,
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="other"; filename="a"\r\n\r\nabc\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
        ),
        (
            2 * b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n'
            + b"--x--\r\n",
            "multipart/form-data; boundary=x",
            422,
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="encoding"\r\n\r\n\xff\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
        ),
    ],
)
async def test_a_form_that_is_none_is_refused_and_leaves_nothing(
    api: httpx.AsyncClient, stored: Callable[[], list[Path]], content: bytes, kind: str, status: int
) -> None:
    """Broken clients must learn what is wrong with them, and never get a 500 or half a file stored."""
    answer = await api.post("/api/uploads", content=content, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert stored() == []


async def test_names_of_files_are_made_harmless(api: httpx.AsyncClient, database_url: str) -> None:
    """A name is shown and put into headers; a path or a line break in it must stay text."""
    await api.post("/api/uploads", files=file(name="..\\..\\evil\r\n.csv"))
    assert ask(database_url, "select filename from uploads") == [("evil.csv",)]


async def test_without_a_key_nothing_is_accepted_or_shown(
    client: httpx.AsyncClient, stored: Callable[[], list[Path]]
) -> None:
    """The lists of one creditor are nobody else's business."""
    assert (await client.post("/api/uploads", files=file())).status_code == 401
    for path in (
        "/api/uploads",
        "/api/uploads/1/file",
        "/api/uploads/1/problems",
        "/api/debtors",
        "/api/blacklist",
    ):
        assert (await client.get(path)).status_code == 401
    assert stored() == []


async def test_without_a_store_uploads_wait_and_the_node_is_ready(
    serving: Serve, environment: dict[str, str]
) -> None:
    """Notifications must be accepted without an object store; uploads are refused with a retry."""
    del environment["TETHER_OBJECTS_DIR"]
    away = {"AWS_BUCKET": "b", "AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a"}
    for environ in (environment, {**environment, **away, "AWS_SECRET_ACCESS_KEY": "a"}):
        async with serving(environ) as served:
            answer = await served.post("/api/uploads", files=file(), headers=KEY)
            ready = await served.get("/ready")
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert (ready.status_code, ready.json()["objects"]) == (200, False)


async def test_ready_reports_a_store_that_answers(client: httpx.AsyncClient) -> None:
    """An operator looks here first when uploads fail."""
    assert (await client.get("/ready")).json()["objects"] is True


# --- over a real connection ---


@pytest.fixture
def served(process: Launch, environment: dict[str, str]) -> tuple[str, int, int]:
    """A web node as a process: its host, port and process id."""
    port = free_port()
    program = process("tether-web", "--port", str(port), environ=environment)
    program.await_url(f"http://127.0.0.1:{port}/health")
    return "127.0.0.1", port, program.pid


def head(size_bytes: int) -> bytes:
    """The beginning of a form with a file, as it goes over the wire."""
    return (
        b"POST /api/uploads HTTP/1.1\r\nHost: tether\r\nAuthorization: Bearer test-key\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n' % size_bytes
    )


def test_a_sender_who_disconnects_leaves_nothing(
    served: tuple[str, int, int],
    stored: Callable[[], list[Path]],
    database_url: str,
    until: Callable[..., object],
) -> None:
    """Laptops are closed in the middle of an upload every day; half a list must never be read as a whole one."""
    host, port, _ = served
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(head(50 << 20) + bytes(12 << 20))
        until(stored, what="parts of the file")
    until(lambda: stored() == [], what="the end of the broken upload")
    with httpx.Client(base_url=f"http://{host}:{port}", headers=KEY, timeout=60) as client:
        assert client.post("/api/uploads", files=file()).status_code == 202
    assert ask(database_url, "select count(*) from uploads") == [(1,)]


def test_memory_stays_flat_under_a_large_file(
    served: tuple[str, int, int], stored: Callable[[], list[Path]]
) -> None:
    """A node that holds files whole falls over when five people send theirs at once."""
    host, port, pid = served
    processes = [child for child in psutil.Process(pid).children(recursive=True) if child.is_running()]
    before = sum(process.memory_info().rss for process in processes)
    size = 150 << 20
    tail = b"\r\n--x--\r\n"
    peak = 0
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(head(len(head(0).partition(b"\r\n\r\n")[2]) + size + len(tail)))
        for _ in range(150):
            connection.sendall(b"0123456789abcde\n" * (1 << 16))
            peak = max(peak, sum(process.memory_info().rss for process in processes))
        connection.sendall(tail)
        connection.settimeout(120)
        assert b" 202 " in connection.recv(100)
    assert [path.stat().st_size for path in stored()] == [size]
    assert peak - before < 32 << 20


def test_a_file_that_is_too_large_is_refused_while_it_is_sent(served: tuple[str, int, int]) -> None:
    """A browser shows the reason only if the answer reaches it; a connection cut off shows nothing."""
    host, port, _ = served
    with socket.create_connection((host, port), timeout=60) as connection:
        connection.sendall(head(300 << 20))
        answer = connection.recv(1000)
    assert b" 413 " in answer


# --- out ---


async def test_state_counts_and_decisions_are_shown(read: Callable[..., Any]) -> None:
    """A sender follows the upload by these numbers; each must agree with the list."""
    payload = await read(BAD)
    assert payload["upload"]["state"] == "completed"
    assert payload["upload"]["bytes_read"] == payload["upload"]["size_bytes"] == len(BAD)
    counts = payload["upload"]["row_counts"]
    assert [counts[name] for name in ("rows", "stored", "excluded", "refused", "skipped")] == [5, 1, 1, 3, 0]
    assert payload["summary"] == "1 of 5 rows became debtors; excluded: 1, with problems: 3, skipped: 0."
    assert {"delimiter", "amount_format", "header"} <= {
        decision["about"] for decision in payload["plan"]["decisions"]
    }
    assert [column["field"] for column in payload["plan"]["columns"]] == [
        "name",
        "iban",
        "amount",
        "description",
    ]


async def test_questions_are_shown_and_can_be_answered(
    read: Callable[..., Any], api: httpx.AsyncClient, environment: dict[str, str]
) -> None:
    """What the file leaves open is settled by a person, without sending the bytes again; and only while it is open."""
    payload = await read(f"IBAN;Name;Betrag\n{DE};A B;1.234\n".encode())
    assert payload["upload"]["state"] == "needs_answer"
    (question,) = payload["plan"]["questions"]
    at = payload["links"]["self"]
    answered = await api.post(f"{at}/answers", json={"formats": {question["answer"]: "comma"}})
    assert (answered.status_code, answered.json()["upload"]["state"]) == (202, "examining")
    await read_all(environment)
    done = (await api.get(at)).json()
    assert (done["upload"]["state"], done["upload"]["row_counts"]["amount_minor"]) == ("completed", 123_400)
    again = await api.post(f"{at}/answers", json={})
    assert (again.status_code, again.json()["code"]) == (409, "illegal_step")


async def test_the_form_of_the_console_answers_questions(
    read: Callable[..., Any], api: httpx.AsyncClient, environment: dict[str, str]
) -> None:
    """A form whose fields the API does not know leaves the operator with questions that nobody can answer."""
    lines = (f"{DE};A B;1.234;S", f"{AT};C D;5.678;H", "NL91ABNA0417164300;E F;2.000;")
    payload = await read("\n".join(("IBAN;Name;Betrag;S/H", *lines, "")).encode())
    fields = {question["answer"] for question in payload["plan"]["questions"]}
    assert fields == {"amount_format", "collect.S/H"}
    api.headers["sec-fetch-site"] = "same-origin"
    await api.post("/sign-in", data={"key": "test-key"})
    page = f"/uploads/{payload['id']}"
    shown = html.unescape((await api.get(page)).text)
    assert [field for field in fields if f'name="{field}"' not in shown] == []
    form = {"amount_format": "comma", "collect.S/H": ["S", ""]}
    answer = await api.post(f"{page}/answers", data=form)
    assert (answer.status_code, answer.headers.get("location")) == (303, f"{page}?done=answered"), answer.text
    await read_all(environment)
    counts = (await api.get(payload["links"]["self"])).json()["upload"]["row_counts"]
    assert (counts["stored"], counts["amount_minor"]) == (2, 323_400)


AGAIN = b"Name;IBAN;Betrag\n" + b"".join(
    f"A B {n};DE{98 - int(f'{n:018d}131400') % 97:02d}{n:018d};10,00\n".encode() for n in range(3)
)


async def test_rows_that_may_have_been_debited_are_a_question_and_not_billed(
    read: Callable[..., Any], api: httpx.AsyncClient, environment: dict[str, str]
) -> None:
    """
    The list of last week, sent again: a person says once for all rows whether to collect them.

    Were it billable meanwhile, the question would come too late; were one answer enough for two questions, one would be guessed.
    """
    await read(AGAIN)
    payload = await read(AGAIN, force="true")
    at = payload["links"]["self"]
    assert payload["upload"]["state"] == "needs_answer"
    assert "some may have been debited before" in payload["summary"]
    (question,) = payload["plan"]["questions"]
    assert (question["code"], question["answer"]) == ("collected_before", "screening.collected_before")
    (group,) = payload["repeats"]
    assert (group["rule"], group["count"], group["amount_minor"]) == ("collected_lately", 3, 3000)
    refused = await api.post(f"{at}/billing", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "illegal_step")
    assert "Answer the questions of its plan" in refused.json()["detail"]
    for body, field in (
        ({}, "screening"),
        ({"screening": {"identity_unclear": "take"}}, "screening"),
        ({"screening": {"collected_before": "take"}, "mapping": {"iban": 2}}, "mapping"),
        ({"screening": {"collected_before": "perhaps"}}, ""),
    ):
        wrong = await api.post(f"{at}/answers", json=body)
        assert wrong.status_code in {400, 422}, wrong.text
        assert field in wrong.text
    answered = await api.post(
        f"{at}/answers", json={"screening": {"collected_before": "take"}, "remember": True}
    )
    assert (answered.status_code, answered.json()["upload"]["state"]) == (202, "reading")
    twice = await api.post(f"{at}/answers", json={"screening": {"collected_before": "exclude"}})
    assert (twice.status_code, twice.json()["code"]) == (409, "illegal_step")
    await read_all(environment)
    done = (await api.get(at)).json()
    assert (done["upload"]["state"], done["upload"]["row_counts"]["stored"]) == ("completed", 3)
    assert any("tests answered so on" in decision["why"] for decision in done["plan"]["decisions"])
    (kept,) = (await api.get("/api/layout-answers")).json()
    assert (kept["subject"], kept["answer"], kept["answered_by"]) == ("collected_before", "take", "tests")
    assert (await api.delete(f"/api/layout-answers/{kept['id']}")).status_code == 204
    assert (await api.delete(f"/api/layout-answers/{kept['id']}")).status_code == 404
    assert (await api.get("/api/layout-answers")).json() == []


async def test_answers_about_rows_are_refused_before_they_are_asked(
    read: Callable[..., Any], api: httpx.AsyncClient
) -> None:
    """An answer that takes all rows must not be accepted before the question exists."""
    payload = await read(f"IBAN;Name;Betrag\n{DE};A B;1.234\n".encode())
    answer = await api.post(
        f"{payload['links']['self']}/answers", json={"screening": {"collected_before": "take"}}
    )
    assert answer.status_code == 422
    assert "about its file, not about its rows" in answer.json()["detail"]


async def test_a_failed_file_can_be_sent_through_again_with_other_answers(
    read: Callable[..., Any], api: httpx.AsyncClient, environment: dict[str, str]
) -> None:
    """A slip in the mapping should cost a click, and not another upload of 200 MB."""
    payload = await read(mapping='{"iban": "Konto"}')
    assert payload["upload"]["state"] == "failed"
    assert "columns.iban" in payload["summary"]
    answered = await api.post(f"{payload['links']['self']}/answers", json={"mapping": {"iban": "IBAN"}})
    assert answered.status_code == 202
    await read_all(environment)
    assert (await api.get(payload["links"]["self"])).json()["upload"]["row_counts"]["stored"] == 2


async def test_answers_that_make_it_another_upload_are_a_contradiction(
    read: Callable[..., Any], api: httpx.AsyncClient
) -> None:
    """Two uploads of the same bytes and answers would be the double import that sending it again cannot be."""
    await read(mapping='{"iban": 2}')
    failed = await read(mapping='{"iban": "Konto"}')
    answer = await api.post(f"{failed['links']['self']}/answers", json={"mapping": {"iban": 2}})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflicting_content")


async def test_uploads_are_listed_newest_first(read: Callable[..., Any], api: httpx.AsyncClient) -> None:
    """The one just sent is the one looked for."""
    ids = [(await read(GOOD + bytes([65 + n, 10])))["upload"]["id"] for n in range(3)]
    first = (await api.get("/api/uploads", params={"limit": 2})).json()
    second = (await api.get("/api/uploads", params={"limit": 2, "cursor": first["next"]})).json()
    assert [item["id"] for page in (first, second) for item in page["items"]] == ids[::-1]
    assert second["next"] is None
    assert (await api.get("/api/uploads", params={"status": "failed"})).json()["items"] == []
    # By a part of the name, which is no pattern: a person has the name of the file and not the number of the upload.
    named = (await read(GOOD + b"Z\n", name="Members_March 100%.csv"))["upload"]["id"]
    for part, found in (("members_MARCH", [named]), ("0%.c", [named]), ("m_mb", []), ("nobody", [])):
        listed = (await api.get("/api/uploads", params={"filename": part})).json()["items"]
        assert [item["id"] for item in listed] == found
    assert (await api.get("/api/uploads", params={"filename": "members", "status": "failed"})).json()[
        "items"
    ] == []
    count = (await api.get("/api/uploads", params={"filename": "members", "format": "count"})).json()
    assert count["count"] == 1


async def test_the_file_comes_back_as_it_was_sent(read: Callable[..., Any], api: httpx.AsyncClient) -> None:
    """Whole, in part, or not at all when the asker has it: all by the digest, so caches cannot be wrong."""
    data = bytes(range(256)) * 3_000
    payload = await read(data, name='Débi"teurs.csv')
    at = payload["links"]["file"]
    whole = await api.get(at)
    etag = f'"{hashlib.sha256(data).hexdigest()}"'
    assert (whole.status_code, whole.content, whole.headers["etag"]) == (200, data, etag)
    assert whole.headers["content-length"] == str(len(data))
    assert whole.headers["content-disposition"].endswith("filename*=UTF-8''D%C3%A9bi%22teurs.csv")
    part = await api.get(at, headers={"range": "bytes=100-299999"})
    assert (part.status_code, part.content) == (206, data[100:300_000])
    assert part.headers["content-range"] == f"bytes 100-299999/{len(data)}"
    assert (await api.get(at, headers={"range": "bytes=-5"})).content == data[-5:]
    assert (await api.get(at, headers={"range": "bytes=5-9", "if-range": etag})).status_code == 206
    assert (await api.get(at, headers={"range": "bytes=5-9", "if-range": '"other"'})).content == data
    beyond = await api.get(at, headers={"range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    same = await api.get(at, headers={"if-none-match": etag})
    assert (same.status_code, same.content) == (304, b"")


async def test_a_file_that_is_gone_is_a_contradiction(
    read: Callable[..., Any], api: httpx.AsyncClient, stored: Callable[[], list[Path]]
) -> None:
    """A row without its object is for a person to look at; an empty download would pass for the file."""
    payload = await read()
    stored()[0].unlink()
    answer = await api.get(payload["links"]["file"])
    assert (answer.status_code, answer.json()["code"]) == (409, "object_missing")


async def test_the_preview_shows_the_first_rows_masked(
    read: Callable[..., Any], api: httpx.AsyncClient
) -> None:
    """People check here that columns were understood; whole account numbers need not be on their screen for that."""
    payload = await read(BAD)
    preview = (await api.get(payload["links"]["preview"])).json()
    assert [row["outcome"] for row in preview["rows"]] == [
        "refused",
        "debtor",
        "refused",
        "debtor",
        "refused",
    ]
    assert preview["rows"][1]["reads"]["iban"] == "AT61************3201"
    assert DE[:-1] not in str(preview)
    assert AT not in str(preview)
    waiting = await api.post("/api/uploads", files=file())
    assert (await api.get(waiting.json()["links"]["preview"])).json()["rows"] == []


async def test_problems_are_listed_by_cursor_in_the_order_of_the_file(
    read: Callable[..., Any], api: httpx.AsyncClient
) -> None:
    """A program that mends lists pages through thousands of these; one shown twice or never breaks it."""
    at = (await read(BAD))["links"]["problems"]
    seen: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = (await api.get(at, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        seen += page["items"]
        cursor = page["next"]
        if cursor is None:
            break
    assert [(item["row"], item["column"], item["code"]) for item in seen] == [
        (2, "IBAN", "iban_invalid"),
        (4, "IBAN", "iban_missing"),
        (4, "Name", "name_missing"),
        (4, "Betrag", "amount_not_positive"),
        (6, "Betrag", "amount_unreadable"),
    ]
    assert seen[0]["excerpt"] == "DE89**************3001"
    only = (await api.get(at, params={"code": "iban_missing"})).json()["items"]
    assert [item["row"] for item in only] == [4]
    assert (await api.get(at, params={"level": "warning"})).json()["items"] == []
    assert (await api.get(at, params={"code": "unheard_of"})).status_code == 422
    assert (await api.get(at, params={"cursor": "x"})).status_code == 422


def _as_rows(answer: httpx.Response, form: str) -> list[list[str]]:
    if form == "csv":
        return list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(answer.content))
    return [[str(cell) for cell in row] for row in book.get_sheet_by_index(0).to_python()]


@pytest.mark.parametrize("form", ["csv", "xlsx"])
async def test_the_report_can_be_corrected_and_sent_again(
    read: Callable[..., Any], api: httpx.AsyncClient, form: str
) -> None:
    """Original columns in their places, the reasons to their right, nothing that runs as a formula."""
    payload = await read(BAD, name="März.csv")
    answer = await api.get(payload["links"]["problems"], params={"format": form})
    assert answer.headers["content-disposition"].endswith(f"M%C3%A4rz%20%28problems%29.{form}")
    header, *lines = _as_rows(answer, form)
    assert header == [
        "Name",
        "IBAN",
        "Betrag",
        "Verwendungszweck",
        "row",
        "level",
        "columns",
        "problems",
        "what to do",
    ]
    assert [line[4] for line in lines] == ["2", "4", "6"]
    assert lines[0][:4] == ["Zoë", f"{DE[:-1]}1", "12,50", "'=1+1"]
    assert lines[1][3] == "'-x"
    assert lines[1][6:8] == ["IBAN; Name; Betrag", "iban_missing; name_missing; amount_not_positive"]
    source = io.BytesIO(answer.content.replace(f"{DE[:-1]}1".encode(), DE.encode()))
    if form == "csv":
        plan = reading.plan(source, name="x.csv")
        assert isinstance(plan, Plan)
        debtors = [
            item
            for item in rows.read(reading.rows(source, plan=plan), plan=plan, today=date(2026, 3, 2))
            if isinstance(item, Debtor)
        ]
        assert [(debtor.iban, debtor.amount_minor, debtor.description) for debtor in debtors] == [
            (DE, 1250, "=1+1")
        ]


async def test_what_screening_excluded_can_be_had_as_a_file(
    read: Callable[..., Any], api: httpx.AsyncClient
) -> None:
    """A row that is right and still not collected needs its reason as much as a wrong one."""
    payload = await read(BAD)
    answer = await api.get(payload["links"]["problems"], params={"format": "csv", "what": "excluded"})
    _, *lines = _as_rows(answer, "csv")
    assert lines == [
        [
            "C D",
            AT,
            "1,00",
            "",
            "5",
            "excluded",
            "",
            "duplicate_in_file",
            "It is the same debit as row 3 of this file.",
        ]
    ]


async def test_an_upload_says_why_it_waits(api: httpx.AsyncClient, environment: dict[str, str]) -> None:
    """Somebody who sees 'received' for minutes sends the file again, and waits for longer."""
    bodies = [GOOD + b"\n" * number for number in range(3)]
    paths = [(await api.post("/api/uploads", files=file(body))).json()["links"]["self"] for body in bodies]
    result = [(await api.get(path)).json() for path in paths]
    assert [item["ahead"] for item in result] == [0, 1, 2]
    assert [item["summary"] for item in result] == [
        "It waits for its turn: it is read next.",
        "It waits for its turn: 1 other upload is read before it.",
        "It waits for its turn: 2 other uploads are read before it.",
    ]
    await read_all(environment)
    read = (await api.get(paths[0])).json()
    assert (read["upload"]["state"], read["ahead"]) == ("completed", None)


async def test_a_report_says_what_it_does_not_list(api: httpx.AsyncClient, read: Callable[..., Any]) -> None:
    """A report that ended in silence after a thousand rows would look whole; sent again as it is, it adds no row."""
    lines = [f"A B;none {number};1,00" for number in range(1_003)]
    data = "\n".join(["Name;IBAN;Betrag", "A B;DE89370400440532013000;1,00", *lines, ""]).encode()
    payload = await read(data)
    assert payload["upload"]["listed"]["unlisted_rows"] == 3
    assert "3 further rows with problems are counted and not listed." in payload["summary"]
    report = await api.get(payload["links"]["problems"], params={"format": "csv"})
    *_, last = report.text.splitlines()
    assert last.strip(";").strip('"').startswith("3 further rows with problems are counted and not listed.")
    again = await read(report.content.replace(b"none ", b"nothing "), name="again.csv")
    assert (again["upload"]["row_counts"]["refused"], again["upload"]["row_counts"]["skipped"]) == (1_000, 2)


async def test_there_is_no_report_before_the_file_was_looked_at(api: httpx.AsyncClient) -> None:
    """Its columns are not known yet."""
    payload = (await api.post("/api/uploads", files=file())).json()
    answer = await api.get(payload["links"]["problems"], params={"format": "csv"})
    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["", "/file", "/preview", "/problems", "/problems?format=csv"])
async def test_an_upload_that_is_not_there_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    """A wrong number is the asker's mistake, not ours."""
    assert (await api.get(f"/api/uploads/999{path}")).status_code == 404


async def test_the_form_is_described(client: httpx.AsyncClient) -> None:
    """Clients are generated from this document; without the form they could send no file."""
    document = (await client.get("/api/schema/openapi.json")).json()
    form: Sequence[str] = document["paths"]["/api/uploads"]["post"]["requestBody"]["content"][
        "multipart/form-data"
    ]["schema"]["properties"]
    assert set(form) == {
        "file",
        "mapping",
        "formats",
        "encoding",
        "collect",
        "keep_columns",
        "dry_run",
        "force",
    }
