"""What schemathesis makes of the published description, sent to a node that runs: no 500, and no node that dies of it."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import hypothesis
from tether_sandbox.seed import seed
from tether_sandbox.services.server import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether_sandbox.services.program import Launch

KEY = "test-key"
SHEET = b"Name;IBAN;Betrag\nAda Ahorn;DE89370400440532013000;10,50\n"
# A hundredth of what a decoder gets: a request takes a hundred times as long, and there are some forty routes.
EXAMPLES = max(hypothesis.settings().max_examples // 100, 3)


def test_a_node_lives_through_all_that_its_description_allows(
    process: Launch,
    environment: dict[str, str],
    database_url: str,
    tmp_path: Path,
    count: Callable[[str, int], None],
) -> None:
    """Who reads the description writes requests of a kind that we did not think of; a 500 among the answers is ours."""
    list(seed(database_url, attempts=3, rng=random.Random(1), now=datetime.now(UTC)))
    port = free_port()
    node = process("tether-web", "--port", str(port), environ=environment)
    url = f"http://127.0.0.1:{port}"
    node.await_url(f"{url}/ready")
    authorization = f"Bearer {KEY}"
    sent = httpx.post(
        f"{url}/api/uploads",
        headers={"authorization": authorization},
        files={"file": ("list.csv", SHEET)},
        trust_env=False,
        timeout=60,
    )
    assert sent.status_code == 202, sent.text
    result = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{url}/api/schema",
            "--checks=not_a_server_error",
            "--header",
            f"Authorization: {authorization}",
            "--exclude-path=/api/events",  # a stream has no end
            f"--max-examples={EXAMPLES}",
            "--suppress-health-check=all",
            "--request-timeout=60",
            "--generation-deterministic",
            "--no-color",
            "--continue-on-failure",
        ],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    cases = re.search(r"Test cases:\s+(\d[\d,]*)", result.stdout)
    assert cases is not None, result.stdout[-3000:]
    count("requests by schemathesis", int(cases[1].replace(",", "")))
    assert node.returncode is None
    assert "internal error" not in node.stderr
