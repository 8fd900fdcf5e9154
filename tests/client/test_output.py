"""What `tether` writes where the terminal, the alphabet or the disk is not as one expects."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tether_client.command.output import Output, fitted


@pytest.mark.parametrize("is_json", [True, False])
def test_a_name_that_the_terminal_cannot_write_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, *, is_json: bool
) -> None:
    """A job of cron has no alphabet but ASCII; one debtor with an accent would end its list in the middle."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    Output(is_json=is_json).result({"name": "Zoë"}, lambda: "Zoë …\n")
    text = written.getvalue().decode("ascii")
    assert (json.loads(text) == {"name": "Zoë"}) if is_json else (text == "Zo? ?\n")


def test_a_full_disk_is_one_sentence() -> None:
    """A list that was written half must not look like a whole one, and a traceback says nobody what to do."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        ended = subprocess.run(
            [sys.executable, "-m", "tether_client", "completion", "bash"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 2
    assert ended.stderr == (
        "tether: The output cannot be written: No space left on device. Make room, or choose another file.\n"
    )


def test_a_short_and_narrow_terminal_shows_the_first_lines() -> None:
    """`tether top` in a small window must not push the line away that says whether notifications are recorded."""
    text = "".join(f"line {number} of the status\n" for number in range(30))
    shown = fitted(text, columns=12, lines=5).splitlines()
    assert len(shown) == 5
    assert shown[0] == "line 0 of t…"
    assert shown[-1] == "(26 more li…"
    assert fitted(text, columns=80, lines=30) == text
