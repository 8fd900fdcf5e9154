"""
A worker with clock skew: `python -m tether_sandbox.chaos.clock_skew SECONDS run QUEUE... [--grace SECONDS]`.

It is `tether-worker` with a clock that is ahead by that many seconds.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tether_worker import __main__ as program

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """
    Run the worker; returns its exit code.

    Args:
        arguments: The clock skew in seconds, then the arguments of `tether-worker`.
    """
    skew = timedelta(seconds=float(arguments[0]))

    def clock() -> datetime:
        return datetime.now(UTC) + skew

    return program.main(arguments[1:], clock=clock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
