"""Examples in docstrings are true, in every package; those of the core run with its own tests."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
    for package in ("stores", "web", "worker", "sandbox")
    for source in [ROOT / "packages" / f"tether-{package}" / "src"]
    for path in source.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name: str) -> None:
    """An example is what people copy; one that was true last year costs them an hour."""
    ran = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert ran.attempted
    assert not ran.failed
