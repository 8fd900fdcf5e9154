"""Examples in docstrings are true, in every package; those of the core run with its own tests."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.tidy.conftest import Every

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
    for package in ("stores", "web", "worker", "client", "sandbox")
    for source in [ROOT / "packages" / f"tether-{package}" / "src"]
    for path in source.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_examples_are_true(every: Every) -> None:
    """An example is what people copy; one that was true last year costs them an hour."""

    def rule(name: str) -> None:
        ran = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
        assert ran.attempted
        assert not ran.failed

    every(MODULES, rule)
