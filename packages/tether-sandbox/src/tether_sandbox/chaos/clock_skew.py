"""
A worker on a machine whose clock is wrong: `python -m tether_sandbox.chaos.clock_skew SECONDS run QUEUE... [--grace SECONDS]`.

Everything it does is what `tether-worker` does; only the clock it is given differs, by so many seconds.
"""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tether_worker import __main__ as program

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """
    Run the worker.

    Args:
        arguments: How far the clock is ahead, in seconds, then those of `tether-worker`.

    Returns:
        Its exit code.
    """
    off = timedelta(seconds=float(arguments[0]))

    def clock() -> datetime:
        return datetime.now(UTC) + off

    return program.main(arguments[1:], clock=clock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
