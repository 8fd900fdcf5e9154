"""
Wait for a condition: a row that exists, a URL that responds, a process that has ended.

The default timeout is long: it costs nothing if the condition becomes true, and a busy machine is slow.

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
    timeout_s: float = 120.0,
    despite: tuple[type[Exception], ...] = (),
) -> _Fact:
    """
    Call *fact* repeatedly until it returns a true value.

    Args:
        fact: The condition; called at least once.
        what: Its description for the error message.
        despite: Exceptions that mean "not yet"; others end the wait.

    Returns:
        The first true value.

    Raises:
        TimeoutError: after the timeout; the message has the last value.
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
            raise _timed_out(what, timeout_s=timeout_s, seen=seen)
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
    timeout_s: float = 120.0,
    despite: tuple[type[Exception], ...] = (),
) -> object:
    """Wait as `until` does without blocking the event loop; *fact* may be async."""
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
            raise _timed_out(what, timeout_s=timeout_s, seen=seen)
        await asyncio.sleep(_POLL_S)


def _timed_out(what: str, *, timeout_s: float, seen: object) -> TimeoutError:
    return TimeoutError(f"waited {timeout_s:g} s in vain for {what}; last seen: {seen!r:.500}")
