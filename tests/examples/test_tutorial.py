"""The first hour of docs/tutorial.md: every command of the page, in its order, in a sandbox of its own."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services.program import Launch

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def test_every_command_of_the_tutorial_does_what_the_page_says(
    process: Launch, until: Callable[..., object], tmp_path: Path
) -> None:
    """The first page that a stranger follows is the one that nobody here reads."""
    sandbox = process("tether-sandbox", "up", environ={})
    until(lambda: "Ctrl-C stops everything" in sandbox.stdout, what="the sandbox", timeout_s=120)
    given = dict(re.findall(r"(TETHER_\w+)=(\S+)", sandbox.stdout))
    environ = {**os.environ, **given, "XDG_CONFIG_HOME": str(tmp_path)}

    said: dict[str, str] = {}
    errors: list[tuple[str, int, str]] = []

    def first(pattern: str, line: str) -> str:
        found = re.search(pattern, said[line], re.MULTILINE)
        assert found, (line, said[line], errors)
        return found[1]

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line.replace("uv run tether", "tether")],
            env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in {0, 1}, (line, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, line
        errors.append((line, done.returncode, done.stderr))
        return done.stdout

    commands = [
        line
        for block in re.findall(
            r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        for line in block.splitlines()
    ]
    numbers = {"12": "", "7": "", "71": ""}
    for line in commands:
        if "payments list" in line:
            shown = re.sub(r"--run 7\b", f"--run {numbers['7']}", line)
            until(
                lambda shown=shown: "chargebacked" in run(shown) and "approved" in run(shown),
                what="the results",
                timeout_s=180,
            )
        ready = re.sub(r"(uploads bill|--upload) 12\b", rf"\1 {numbers['12']}", line)
        ready = re.sub(r"--run 7\b", f"--run {numbers['7']}", ready)
        ready = re.sub(r"export 71\b", f"export {numbers['71']}", ready)
        said[line] = run(ready)
        if "uploads add" in line:
            numbers["12"] = first(r"upload (\d+)", line)
        elif "uploads bill" in line and "--yes" in line:
            numbers["7"] = first(r"run (\d+)", line)
        elif "debtors list" in line:
            numbers["71"] = first(r"^ *(\d+) .*Ada Ahorn", line)
    assert all(numbers.values()), (numbers, said)
    # Lists of the sandbox's own are returned meanwhile: the account need not be among the newest five.
    assert said["uv run tether blacklist list --limit 5"]
    assert "AC04" in run("uv run tether blacklist list --limit 200")
    assert zipfile.is_zipfile(tmp_path / "debtor.zip")
