"""
Memory of processes over time, and whether it stays flat.

Of each process two figures are taken: what is resident, and the part of that which is its own ("private"). Pages of files and of
shared memory are resident in every process that has touched them, so a Postgres backend "grows" until it has seen all of
the buffers; only its private memory can be a leak. Flatness is therefore judged by private memory, from the second quarter of a run,
when it is warm, to the last.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from statistics import median

import msgspec
import psutil

__all__ = ["Course", "watched"]

# Interpreters take and refund a few pages all the time; a leak of one KiB a request is 300 times as much.
_FLAT_MIB = 4.0
_FLAT_SHARE = 0.05
_MIB = 2**20


class Course(msgspec.Struct):
    """
    The memory of one process.

    Attributes:
        program: Which it belongs to.
        place: Which of the program's processes it is, from 1.
        at_s: Seconds since the start, one per sample.
        rss_mib: Resident then.
        private_mib: Its own then.
    """

    program: str
    place: int
    at_s: list[float] = []
    rss_mib: list[float] = []
    private_mib: list[float] = []

    @property
    def label(self) -> str:
        """Its name, e.g. "web 2"."""
        return f"{self.program} {self.place}"

    @property
    def lasted_s(self) -> float:
        """From the first sample to the last."""
        return self.at_s[-1] - self.at_s[0]

    @property
    def warm_mib(self) -> float:
        """Private, the median of the second quarter."""
        return self._quarter(1)

    @property
    def end_mib(self) -> float:
        """Private, the median of the last quarter."""
        return self._quarter(3)

    @property
    def flat(self) -> bool:
        """Whether it did not grow from the second quarter to the last."""
        return self.end_mib - self.warm_mib <= max(_FLAT_MIB, _FLAT_SHARE * self.warm_mib)

    def _quarter(self, number: int) -> float:
        count = len(self.private_mib)
        first = count * number // 4
        return median(self.private_mib[first : max(count * (number + 1) // 4, first + 1)])


@contextlib.contextmanager
def watched(programs: Mapping[str, int], *, every_s: float) -> Iterator[list[Course]]:
    """
    Take samples for the length of a `with` block.

    Args:
        programs: First process of each program; its children are watched too.
        every_s: Between two samples, in seconds.

    Yields:
        The courses, filled as time goes by; a process is added when it is first seen.
    """
    courses: dict[tuple[str, int], Course] = {}
    listed: list[Course] = []
    ended = threading.Event()
    began = time.monotonic()

    def sample() -> None:
        while True:
            for program, pid in programs.items():
                _sampled(courses, listed, program, pid, at_s=time.monotonic() - began)
            if ended.wait(every_s):
                return

    thread = threading.Thread(target=sample, name="memory")
    thread.start()
    try:
        yield listed
    finally:
        ended.set()
        thread.join()


def _sampled(
    courses: dict[tuple[str, int], Course], listed: list[Course], program: str, pid: int, *, at_s: float
) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *sorted(root.children(recursive=True), key=lambda item: int(item.pid))):
            with contextlib.suppress(psutil.NoSuchProcess):
                held = process.memory_info()
                course = courses.get((program, process.pid))
                if course is None:
                    place = 1 + sum(item.program == program for item in listed)
                    course = courses[program, process.pid] = Course(program, place)
                    listed.append(course)
                course.at_s.append(at_s)
                course.rss_mib.append(held.rss / _MIB)
                course.private_mib.append((held.rss - getattr(held, "shared", 0)) / _MIB)
