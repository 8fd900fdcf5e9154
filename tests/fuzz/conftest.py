"""Two lengths: what every run has time for, and `pytest --timeout 0 tests/fuzz --hypothesis-profile=long`; and how many inputs there were."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Some twenty decoders, most with ten inputs an example, and all routes: more than a million inputs.
hypothesis.settings.register_profile(
    "long",
    deadline=None,
    database=None,
    max_examples=int(os.environ.get("TETHER_FUZZ_EXAMPLES", "8000")),
    suppress_health_check=list(hypothesis.HealthCheck),
)


@pytest.fixture(scope="session")
def counts() -> Iterator[Counter[str]]:
    """Name to number of inputs; written as JSON into the folder `TETHER_FUZZ_COUNTS` at the end, where that is set."""
    counted = Counter[str]()
    yield counted
    if folder := os.environ.get("TETHER_FUZZ_COUNTS"):
        # One file for each process of a run.
        Path(folder, f"{os.getpid()}.json").write_bytes(msgspec.json.encode(counted))


@pytest.fixture
def count(counts: Counter[str]) -> Callable[[str, int], None]:
    """Count inputs in."""

    def counted(name: str, number: int = 1) -> None:
        counts[name] += number

    return counted
