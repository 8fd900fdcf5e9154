"""
What the command lines of the programs share: values with their bounds, and one sentence where something cannot be done.

>>> port = whole(1, 65_535)
>>> port("8000")
8000
>>> port("99999")
Traceback (most recent call last):
    ...
argparse.ArgumentTypeError: must be a whole number from 1 to 65535
>>> number(0, 1)("0.5")
0.5
>>> day("yesterday")
Traceback (most recent call last):
    ...
argparse.ArgumentTypeError: must be a day like 2026-03-02
"""

import argparse
import logging
import math
import os
import socket
import sys
from collections.abc import Callable
from datetime import date
from typing import Final

import psycopg
from tether_core.errors import Rejected, StoreUnreachable, TetherError

__all__ = ["cannot_listen", "day", "done", "number", "whole"]

# As sysexits.h has it: something is unavailable for now, and the same command may work later.
_UNAVAILABLE: Final = 75


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """
    A whole number within bounds, for `add_argument(type=...)`.

    Args:
        least: The smallest that makes sense.
        most: The largest, or `None`.

    Returns:
        What reads it; a wrong value is refused with both bounds.
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"must be a whole number {bounds}")
        return value

    return read


def number(least: float, most: float | None = None) -> Callable[[str], float]:
    """
    A number within bounds, for `add_argument(type=...)`.

    Args:
        least: The smallest that makes sense.
        most: The largest, or `None`.

    Returns:
        What reads it; a wrong value is refused with both bounds.
    """
    bounds = f"of at least {least:g}" if most is None else f"from {least:g} to {most:g}"

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        # Written so that nan, which is neither, fails as well.
        if not (least <= value <= (math.inf if most is None else most)) or math.isinf(value):
            raise argparse.ArgumentTypeError(f"must be a number {bounds}")
        return value

    return read


def day(text: str) -> date:
    """Parse a date of ISO 8601, for `add_argument(type=...)`."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a day like 2026-03-02") from None


def cannot_listen(host: str, port: int) -> str | None:
    """
    Return why a server cannot listen at an address. Checked before the start, because a server would print a traceback.

    Args:
        host: An address of this machine, or a name that leads to one.
        port: 1 to 65535.

    Returns:
        A sentence that says what to change, or `None` where it can be listened on.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        socket.create_server(found[0][4][:2], family=found[0][0]).close()
    except (OSError, UnicodeError) as exc:
        # Encoding the name comes first, and raises UnicodeError for a name that is too long.
        number = getattr(exc, "errno", None) or 0
        # For a name that cannot be resolved the number is negative; Python adds the address to other messages.
        why = os.strerror(number) if number > 0 else "no such host"
        return f"cannot listen on {host}:{port} ({why}); choose another --host or --port"
    return None


class _LastWarning(logging.Handler):
    """Keeps the last warning of a connection pool, instead of printing one for each of its tries."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        _, _, self.text = record.getMessage().partition(": ")


def done(program: str, work: Callable[[], int]) -> int:
    """
    Run a command, and print an error as one sentence.

    Args:
        program: Its name, for the sentence.
        work: Runs the command; returns the exit code.

    Returns:
        The exit code: the result of *work*, 2 where a person must change something first, 75 where a store is temporarily unavailable, 130
        after Ctrl-C.
    """
    last_warning = _LastWarning()
    pools = logging.getLogger("psycopg.pool")
    pools.addHandler(last_warning)
    try:
        return work()
    except TetherError as exc:
        sys.stderr.write(f"{program}: {exc}{_cause(exc, last_warning.text)}\n")
        return 2 if isinstance(exc, Rejected) else _UNAVAILABLE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the output has closed it, as `head` does. Python would print another error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    finally:
        pools.removeHandler(last_warning)


def _cause(exc: TetherError, warning: str) -> str:
    """Return the message of Postgres or its driver, for the person at the terminal, who knows the address."""
    if not isinstance(exc, StoreUnreachable) or exc.store != "postgres":
        return ""
    text = warning or (str(exc.__cause__) if isinstance(exc.__cause__, psycopg.Error) else "")
    first = text.strip().partition("\n")[0]
    return f" Its driver says: {first}" if first else ""
