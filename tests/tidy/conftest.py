"""What the house rules share."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


class Every(Protocol):
    """Holds a rule for many things at once."""

    def __call__(self, things: Iterable[T], rule: Callable[[T], object]) -> None:
        """Have *rule* look at each of *things*; all that break it are listed together."""


def _named(thing: object) -> str:
    if isinstance(thing, Path):
        return thing.relative_to(ROOT).as_posix()
    return str(getattr(thing, "__name__", thing))


@pytest.fixture
def every() -> Every:
    """One test a rule, which lists the offending files, in place of one test a file."""

    def hold(things: Iterable[T], rule: Callable[[T], object]) -> None:
        offenders, looked_at = list[str](), 0
        for thing in things:
            looked_at += 1
            try:
                rule(thing)
            except AssertionError as broken:
                offenders.append(f"{_named(thing)}: {broken}")
        assert looked_at, "there is nothing to look at"
        assert not offenders, "\n" + "\n".join(offenders)

    return hold
