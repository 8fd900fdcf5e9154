"""Log lines: JSON, complete, clean of what is personal, and never in anybody's way. Each test is a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from tether_stores import telemetry
from tether_stores.telemetry import LogSink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IBAN = "DE89370400440532013000"


def _lines(program: str, *, level: str = "info", **environ: str) -> list[dict[str, Any]]:
    """Run *program* with telemetry set up, and give its lines."""
    code = f"""
        import asyncio, logging, os, threading, warnings
        from tether_stores import telemetry
        telemetry.configure(level={level!r}, program="tests")
        log = telemetry.logger("part")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code) + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environ},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_every_line_is_an_object_that_says_when_what_and_who() -> None:
    """Lines are read by programs; one that is no JSON breaks the search for what happened in the night."""
    first, second = _lines("""
        log.info("batch applied", rows=256, took_s=0.5, ok=True, none=None, names=["a", "b"], inner={"n": 1})
        log.warning("two\\nlines \\x00 \\ud800", odd=b"bytes", thing=object)
    """)
    assert first.pop("at").endswith("Z")
    assert first == {
        "level": "info",
        "program": "tests",
        "part": "part",
        "event": "batch applied",
        "rows": 256,
        "took_s": 0.5,
        "ok": True,
        "none": None,
        "names": ["a", "b"],
        "inner": {"n": 1},
    }
    assert (second["level"], second["event"], second["odd"]) == ("warning", "two\nlines \x00 ?", "b'bytes'")


def test_the_level_is_kept_for_us_and_for_libraries() -> None:
    """Who asks for warnings must not pay for debug lines. Who asks for debug lines must see them as such."""
    program = """
        for each in (log.debug, log.info, log.warning, log.error):
            each("ours")
        for each in ("debug", "info", "warning", "error", "critical"):
            getattr(logging.getLogger("library"), each)("theirs")
        logging.getLogger("saq").info("every job of every second")
    """
    quiet = [(line["event"], line["level"]) for line in _lines(program, level="warning")]
    assert quiet == [
        ("ours", "warning"),
        ("ours", "error"),
        ("theirs", "warning"),
        ("theirs", "error"),
        ("theirs", "error"),
    ]
    loud = [line["level"] for line in _lines(program, level="debug")]
    assert loud == ["debug", "info", "warning", "error", "debug", "info", "warning", "error", "error"]


def test_facts_of_a_task_stay_with_that_task() -> None:
    """With a request id on another request's lines, a search by it would lead to the wrong sender."""
    lines = _lines("""
        async def request(name):
            telemetry.REQUEST_ID.set(name)
            await asyncio.sleep(0)
            log.info("asked")
            logging.getLogger("library").info("answered")
        async def main():
            await asyncio.gather(*(asyncio.create_task(request(str(n))) for n in range(3)))
            log.info("after")
        asyncio.run(main())
    """)
    assert sorted((line.get("request_id", ""), line["event"]) for line in lines) == [
        ("", "after"),
        *((str(n), event) for n in range(3) for event in ("answered", "asked")),
    ]


def test_nothing_personal_or_secret_is_written_from_any_source() -> None:
    """Log lines travel to places that nobody checks; an account number in one of them is a breach."""
    lines = _lines(f"""
        iban, spaced = "{IBAN}", "DE89 3704 0044 0532 0130 00"
        log.info(f"paid from {{spaced}}", note=iban, nested={{"deep": [iban, {{"deeper": spaced}}]}}, iban="x")
        log.info("keys", by={{iban: 1}}, first_name="Ada", customer_email="ada@example.org", password="hunter2",
            payment_transaction_token="hunter2", Authorization="Bearer hunter2", card_holder="Ada",
            deep={{"account_holder": "Ada", "consumer_id": ["Ada"]}})
        log.info("address", url="postgresql://user:hunter2@db/x", other="redis://:hunter2@cache")
        logging.getLogger("library").warning("cannot reach %s for %s", "https://user:hunter2@host/", iban)
        logging.getLogger("library").warning("%s went wrong", "two", "many")
        logging.getLogger("library").warning("%(missing)s", {{"name": "x"}})
        try:
            raise ValueError(f"bad row {{iban}} of postgresql://user:hunter2@db")
        except ValueError as problem:
            log.error("failed", exc_info=problem)
            log.error("failed", exc_info=True)
            logging.getLogger("library").exception("failed for %s", iban)
        try:
            int("Ada Lovelace")
        except ValueError as problem:
            log.error("failed", exc_info=problem)
        try:
            {{}}["Ada Lovelace"]
        except KeyError as problem:
            log.error("failed", exc_info=problem)
    """)
    text = json.dumps(lines)
    for secret in (IBAN, "0532 0130", "0532013000", "Ada", "ada@", "hunter2"):
        assert secret not in text, secret
    failed = [line for line in lines if line["event"].startswith("failed")]
    assert len(failed) == 5
    assert {line["error"]["type"] for line in failed} == {"ValueError", "KeyError"}
    assert all("<module>" in line["error"]["frames"][-1] for line in failed)
    assert "DE89**************3000" in failed[0]["error"]["text"]


def test_a_failed_statement_does_not_repeat_its_row(database_url: str) -> None:
    """Postgres quotes the row it refused, name and account too. The log says which rule refused it."""
    (line,) = _lines(
        """
        import psycopg
        try:
            with psycopg.connect(os.environ["URL"]) as conn:
                conn.execute(
                    "insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at)"
                    " values ('DE89370400440532013000', 'f', 'Ada Lovelace', -1, 'EUR', '2026-03-02')"
                )
        except psycopg.Error as problem:
            assert "Ada Lovelace" in str(problem)
            log.error("failed", exc_info=problem)
        """,
        URL=database_url,
    )
    assert line["error"]["type"] == "CheckViolation"
    assert "debtors_amount_positive" in line["error"]["text"]
    assert "Ada" not in json.dumps(line)
    assert "3000" not in json.dumps(line)


def test_what_python_itself_says_is_a_line_too() -> None:
    """Warnings and failures that nobody caught would stand between the lines as plain text, names and all."""
    lines = _lines("""
        warnings.warn("old way", stacklevel=1)
        async def main():
            task = asyncio.create_task(fail())
            await asyncio.sleep(0)
            del task
        async def fail():
            raise ValueError("this is nobody: 'Ada Lovelace'")
        asyncio.run(main())
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    """)
    assert any("old way" in line["event"] for line in lines)
    assert {line["error"]["type"] for line in lines if "error" in line} == {"ValueError", "ZeroDivisionError"}
    assert "Ada" not in json.dumps(lines)


def test_the_last_lines_are_written_before_the_end() -> None:
    """The line that says why a process ended is the one that matters most."""
    lines = _lines("""
        for n in range(5_000):
            log.info("line", n=n)
    """)
    assert [line["n"] for line in lines] == list(range(5_000))


def test_a_forked_process_writes_its_own_lines_and_not_its_parents() -> None:
    """The server forks its workers.

    Without a writer of its own a worker would be silent and fill its memory.
    """
    lines = _lines("""
        log.info("parent")
        if os.fork() == 0:
            log.info("child")
            telemetry.configure(program="tests").close()
            os._exit(0)
        os.wait()
    """)
    assert sorted(line["event"] for line in lines) == ["child", "parent"]


# --- a reader that does not keep up ---


@pytest.mark.parametrize("made", ["as it was", "non-blocking by somebody else"])
def test_a_full_pipe_holds_nobody_up_and_is_used_again(made: str, until: Callable[..., Any]) -> None:
    """A collector that hangs must cost lines and never answers.

    When it reads again, lines must come again.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, made == "as it was")
    os.set_blocking(reading, False)
    sink = LogSink(writing, lines_max=100)
    for n in range(5_000):
        sink.write(b"%0100d\n" % n)
    assert sink.dropped > 0
    read = bytearray()

    def newest_is_read() -> bool:
        with contextlib.suppress(BlockingIOError):
            read.extend(os.read(reading, 1 << 20))
        return read.endswith(b"09999\n")

    sink.write(b"%0100d\n" % 9_999)
    until(newest_is_read, what="the line that came after the trouble")
    sink.close()
    os.close(reading)
    os.close(writing)


def test_a_reader_that_has_gone_harms_nobody() -> None:
    """When the collector dies, its pipe breaks.

    The process must continue, and end without delay.
    """
    reading, writing = os.pipe()
    os.close(reading)
    sink = LogSink(writing, lines_max=10)
    for _ in range(100):
        sink.write(b"line\n")
    sink.close()
    os.close(writing)


def test_a_full_disk_does_not_silence_permanently(tmp_path: Path, until: Callable[..., Any]) -> None:
    """The lines of the time when it was full are lost and counted; those after it must come, or nobody hears of anything."""
    log = tmp_path / "log"
    descriptor = os.open("/dev/full", os.O_WRONLY)
    sink = LogSink(descriptor)
    sink.write(b"lost\n")
    until(lambda: sink.dropped == 1, what="the line to be given up")
    room = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(room, descriptor)
    sink.write(b"kept\n")
    until(lambda: log.read_bytes() == b"kept\n", what="the line that came after the trouble")
    sink.close()
    os.close(room)
    os.close(descriptor)


def test_redaction_keeps_what_people_search_by() -> None:
    """Ids of the gateway are how anything is ever found. Masking them would blind everybody."""
    line = telemetry._finished("tests")(
        None,
        "info",
        {"event": "x", "unique_id": "be17a21403427eb96664a6d7e5d5d481", "status": "approved", "rows": 3},
    )
    assert b"be17a21403427eb96664a6d7e5d5d481" in line[0][0]  # type: ignore[index]


def test_what_comes_by_the_thousand_is_written_once_in_a_while() -> None:
    """A sender of invalid signatures must not control the number of log lines, nor hide others among them."""
    lines = _lines("""
        sampled = telemetry.Sampled(log, every_s=0.2)
        for n in range(1000):
            sampled.warning("notification refused", number=n)
        sampled.warning("another", number=1)
        import time
        until = time.monotonic() + 0.25
        while time.monotonic() < until:
            pass
        sampled.warning("notification refused", number=1000)
    """)
    assert [(line["event"], line["number"]) for line in lines[:1]] == [("notification refused", 0)]
    assert lines[-1]["number"] == 1000
    assert len(lines) < 20  # a busy machine may take longer than one span
    assert sum(1 + line.get("lines_excluded", 0) for line in lines) == 1002
