"""
The boot clock: seconds since this machine was booted, which nobody sets.

It is the machine's, not the process's: what one process has noted, the next one on the same machine can go on from. Its
name says which boot it counts from, and in which time namespace, since containers may have clocks of their own.
Linux counts the time that a machine sleeps. Elsewhere a process has a clock of its own, and starts over with it.
"""

import secrets
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["BootClock", "boot_clock"]

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = Path("/proc/self/ns/time")


class BootClock(msgspec.Struct, frozen=True):
    """
    A clock that only grows.

    Attributes:
        name: Which boot it counts from.
        seconds: Gives its time, in seconds.
    """

    name: str
    seconds: Callable[[], float]


@cache
def boot_clock() -> BootClock:
    """This machine's boot clock; one of this process's own where the system has none."""
    clock_id = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot_id = ""
    if clock_id is None or not boot_id:
        return BootClock(f"process-{secrets.token_hex(8)}", time.monotonic)
    try:
        namespace = str(_NAMESPACE.readlink())
    except OSError:  # a kernel without them
        namespace = ""
    return BootClock(f"{boot_id} {namespace}".strip(), lambda: time.clock_gettime(clock_id))
