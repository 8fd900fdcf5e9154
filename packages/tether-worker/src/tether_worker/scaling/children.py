"""
Worker processes of a supervisor.

Each is `tether-worker run` with the queues of its pool. A pipe ties it to the supervisor, which alone holds the end for writing and
writes nothing: when the supervisor is gone, however it went, the pipe closes, and the worker stops as if it had got SIGTERM. So a
supervisor that was killed leaves no orphans, and what is in progress is finished.
"""

import asyncio
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Mapping
from time import monotonic
from typing import Final

from tether_core.scaling import WorkerPool

__all__ = ["ENDING_S", "Lifeline", "WorkerChild", "follow", "start"]

# Beyond the grace period: a worker ends its connections, and writes its last lines.
ENDING_S: Final = 10.0


class Lifeline:
    """The pipe that ties workers to this process; open as long as this process lives."""

    def __init__(self) -> None:
        self.read_end, self._write_end = os.pipe()

    def close(self) -> None:
        """Let all workers stop that still run."""
        os.close(self._write_end)
        os.close(self.read_end)


class WorkerChild:
    """
    A worker process.

    Attributes:
        worker_id: Its row in `workers`.
        pool: Its pool.
        slot: The name of its files of metrics; free again when it has ended.
        started_s: When it was started, on the clock of `time.monotonic`.
        ending_s: When it began to end; `None` where it has not.
    """

    def __init__(self, process: asyncio.subprocess.Process, *, worker_id: str, pool: str, slot: str) -> None:
        self._process = process
        self.worker_id = worker_id
        self.pool = pool
        self.slot = slot
        self.started_s = monotonic()
        self.ending_s: float | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code, below 0 for a signal; `None` while it runs."""
        return self._process.returncode

    def end(self) -> None:
        """Have it finish what is in progress and end."""
        if self.ending_s is None:
            self.ending_s = monotonic()
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.ending_s = self.ending_s or monotonic()
        self._signal(signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            self._process.send_signal(number)


async def start(
    name: str,
    pool: WorkerPool,
    *,
    supervisor_id: str,
    slot: str,
    grace_s: int,
    lifeline: Lifeline,
    environ: Mapping[str, str],
) -> WorkerChild:
    """
    Start a worker.

    Args:
        name: Of the pool.
        grace_s: How long its work in progress may take to end, in seconds.
        environ: Its settings, and where it writes its metrics.
    """
    worker_id = secrets.token_hex(8)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # the folder it is started in must not shadow modules
        "-m",
        "tether_worker",
        "run",
        *pool.queues,
        "--grace",
        str(grace_s),
        "--supervised",
        f"{supervisor_id}:{worker_id}:{name}:{slot}",
        "--lifeline",
        str(lifeline.read_end),
        stdin=asyncio.subprocess.DEVNULL,
        pass_fds=[lifeline.read_end],
        env=dict(environ),
    )
    return WorkerChild(process, worker_id=worker_id, pool=name, slot=slot)


def follow(lifeline_fd: int, *, grace_s: int) -> None:
    """
    End this process when its supervisor is gone.

    A thread waits for it, because the process may be busy for a while. What has not ended after the grace period is cut off; its
    transactions are rolled back, and its leases expire.

    Args:
        lifeline_fd: The end for reading of the supervisor's pipe.
        grace_s: How long work in progress may take to end, in seconds.
    """

    def wait() -> None:
        while os.read(lifeline_fd, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_s + ENDING_S)
        os._exit(os.EX_TEMPFAIL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
