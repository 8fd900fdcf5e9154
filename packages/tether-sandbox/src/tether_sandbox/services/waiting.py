"""
Waiting for a fact: a row that exists, a URL that answers, a process that has gone. Never for time itself.

How long to wait at most is long by default: it costs nothing where the fact comes, and a busy machine is slow.

>>> until(iter([0, 0, 7]).__next__, what="a number")
7
>>> until(lambda: [], what="the first row", timeout_s=0.05)
Traceback (most recent call last):
    ...
TimeoutError: waited 0.05 s in vain for the first row; last seen: []
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

__all__ = ["eventually", "until"]

_Fact = TypeVar("_Fact")
_POLL_S = 0.02


def until(
    fact: Callable[[], _Fact],
    *,
    what: str,
    timeout_s: float = 60.0,
    despite: tuple[type[Exception], ...] = (),
) -> _Fact:
    """
    Ask *fact* again and again until what it gives is true.

    Args:
        fact: What to ask; called at least once.
        what: The fact in words, for the message.
        timeout_s: How long to go on asking.
        despite: Exceptions that mean "not yet"; others end the wait.

    Returns:
        The first true answer.

    Raises:
        TimeoutError: when there was none in time; it tells what was seen last.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen: object
        try:
            seen = answer = fact()
            if answer:
                return answer
        except despite as error:
            seen = error
        if time.monotonic() > deadline:
            raise _in_vain(what, timeout_s=timeout_s, seen=seen)
        time.sleep(_POLL_S)


@overload
async def eventually(
    fact: Callable[[], Awaitable[_Fact]],
    *,
    what: str,
    timeout_s: float = ...,
    despite: tuple[type[Exception], ...] = ...,
) -> _Fact: ...


@overload
async def eventually(
    fact: Callable[[], _Fact],
    *,
    what: str,
    timeout_s: float = ...,
    despite: tuple[type[Exception], ...] = ...,
) -> _Fact: ...


async def eventually(
    fact: Callable[[], object],
    *,
    what: str,
    timeout_s: float = 60.0,
    despite: tuple[type[Exception], ...] = (),
) -> object:
    """Do what `until` does without holding up the event loop; *fact* may be async."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen: object
        try:
            given = fact()
            seen = await given if inspect.isawaitable(given) else given
            if seen:
                return seen
        except despite as error:
            seen = error
        if time.monotonic() > deadline:
            raise _in_vain(what, timeout_s=timeout_s, seen=seen)
        await asyncio.sleep(_POLL_S)


def _in_vain(what: str, *, timeout_s: float, seen: object) -> TimeoutError:
    return TimeoutError(f"waited {timeout_s:g} s in vain for {what}; last seen: {seen!r:.500}")
