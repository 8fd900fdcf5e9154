"""
A worker with clock skew: `python -m tether_sandbox.chaos.clock_skew SECONDS[@AFTER] run QUEUE... [--grace SECONDS]`.

It is `tether-worker` with a clock that is ahead by that many seconds; with AFTER, the clock is right for that many seconds after
the start and then steps.
"""

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tether_worker import __main__ as program

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """
    Run the worker; returns its exit code.

    Args:
        arguments: The clock skew in seconds and when it begins, then the arguments of `tether-worker`.
    """
    by_s, _, after_s = arguments[0].partition("@")
    skew = timedelta(seconds=float(by_s))
    steps_at_s = time.monotonic() + float(after_s or 0)

    def clock() -> datetime:
        return datetime.now(UTC) + (skew if time.monotonic() >= steps_at_s else timedelta(0))

    return program.main(arguments[1:], clock=clock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
