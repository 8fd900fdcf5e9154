"""The commands of `tether`, as its parser knows them, and made-up words to call each with."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from tether_client.__main__ import _parser

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["leaves", "made_up"]

# Options that keep a command from running on.
_BOUNDS: Final = {"--count": "1", "--every": "1", "--after": "0", "--timeout": "10", "--hours": "1"}
_SAMPLES: Final = ("x", "7", "2026-03-02", "1.00", "{}", "status=parked", "MS02=block")


def leaves() -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Each command that does something, by its words, with its parser."""
    yield from _below(_parser(), ())


def _below(
    parser: argparse.ArgumentParser, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield path, parser
    for group in groups:
        for name, child in group.choices.items():
            yield from _below(child, (*path, name))


def made_up(parser: argparse.ArgumentParser, *, file: str) -> list[str]:
    """
    Words with which a command can be called: what it demands, agreement, and what bounds it.

    Args:
        file: The path of a file that exists.
    """
    words: list[str] = []
    for action in parser._actions:
        name = action.option_strings[-1] if action.option_strings else None
        if name in _BOUNDS:
            words += [name, _BOUNDS[name]]
        elif name in {"--yes", "--dry-run"}:
            words.append(name)
        elif name is None and action.nargs not in {"?", "*"}:
            words.append(_value(action, file))
        elif name is not None and action.required:
            words += [name, _value(action, file)]
    return words


def _value(action: argparse.Action, file: str) -> str:
    if action.choices:
        return str(next(iter(action.choices)))
    if "file" in action.dest:
        return file
    for sample in _SAMPLES:
        try:
            if callable(action.type):
                action.type(sample)
        except (ValueError, argparse.ArgumentTypeError):
            continue
        return sample
    raise AssertionError(f"no sample fits {action.dest}; add one to _SAMPLES of tests/support/commands.py")
