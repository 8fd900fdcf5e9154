"""`tether queues` and `tether workers`: what waits, who does it, and orders for an emergency."""

import argparse
from typing import Final

from tether_client.command.arguments import Commands, add, add_reason, add_yes
from tether_client.command.context import Context, rows_text
from tether_client.command.output import shown
from tether_client.operation import ListedQueue, Pause, Retried, Supervisor, Workers

__all__ = ["add_commands"]

_QUEUES: Final = (
    ("queue", "name"),
    ("rows", "rows"),
    ("oldest s", "oldest_s"),
    ("workers", "workers"),
    ("per s", "handled_per_s"),
    ("paused by", "paused.paused_by"),
    ("reason", "paused.reason"),
)
_WORKERS: Final = (
    ("host", "host"),
    ("pid", "pid"),
    ("pool", "pool"),
    ("queues", "queues"),
    ("state", "state"),
    ("version", "version"),
    ("started", "started_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("queues", help="queues: list, pause, resume, retry-all, clear")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(
        group,
        "list",
        _list,
        text="list queues: the rows that wait, the workers, and pauses",
        example="tether queues list --json",
    )
    item = add(
        group,
        "pause",
        _pause,
        text="pause a queue on all nodes: no further work of it begins; what is in progress ends",
        example='tether queues pause billing --reason "the bank is closed"',
    )
    _add_queue(item)
    add_reason(item)
    item = add(
        group, "resume", _resume, text="go on with a paused queue", example="tether queues resume billing"
    )
    _add_queue(item)
    item = add(
        group,
        "retry-all",
        _retry,
        text="retry now the rows that wait for their next try, and replay parked notifications; no debit is submitted again",
        example='tether queues retry-all webhooks --reason "the defect is corrected"',
    )
    item.add_argument(
        "queues", nargs="*", metavar="QUEUE", help="the names of queues; without a name all of them"
    )
    add_reason(item)
    add_yes(item)
    item = add(
        group,
        "clear",
        _clear,
        text="remove the wake-ups of a queue from Redis; no work is lost: it is held by rows, and workers find them within a second",
        example='tether queues clear webhooks --reason "Redis is full"',
    )
    _add_queue(item)
    add_reason(item)

    parser = commands.add_parser("workers", help="workers: list, restart")
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    add(
        group,
        "list",
        _workers,
        text="list supervisors with their pools, and workers",
        example="tether workers list",
    )
    item = add(
        group,
        "restart",
        _restart,
        text="restart all workers: what is in progress ends first; a supervisor replaces its workers one after the other",
        example='tether workers restart --reason "memory grows"',
    )
    add_reason(item)
    add_yes(item)


def _add_queue(parser: argparse.ArgumentParser) -> None:
    # Not checked here: a newer Tether may have further queues.
    parser.add_argument("queue", metavar="QUEUE", help="the name of the queue, such as billing")


def _list(context: Context) -> int:
    found = context.client.queues()
    context.output.result(found, lambda: rows_text([_Row(item) for item in found], _QUEUES))
    return 0


class _Row:
    """A queue as a row: without a pause its columns are empty."""

    def __init__(self, queue: ListedQueue) -> None:
        self._queue = queue
        self.paused: object = queue.paused or _NoPause
        self.rows = f"{queue.rows:,}".rjust(9)

    def __getattr__(self, name: str) -> object:
        return getattr(self._queue, name)


class _NoPause:
    paused_by = reason = None


def _pause(context: Context) -> int:
    return _paused(
        context, context.client.pause_queue(context.args.queue, reason=context.args.reason), "paused"
    )


def _resume(context: Context) -> int:
    return _paused(context, context.client.resume_queue(context.args.queue), "resumed")


def _paused(context: Context, pause: Pause, done: str) -> int:
    context.output.result(pause, lambda: f"{pause.queue} is {done}; workers obey within seconds\n")
    return 0


def _retry(context: Context) -> int:
    args, client = context.args, context.client
    names = args.queues or [queue.name for queue in client.queues()]
    context.confirm(f"Try again now what waits for its next try on {', '.join(names)}?")
    done = [client.retry_queue(name, reason=args.reason) for name in names]
    context.output.result(done, lambda: "".join(_retried(item) for item in done))
    return 0


def _retried(done: Retried) -> str:
    more = "; there are more, order it again" if done.more else ""
    note = f". {shown(done.note)}" if done.note else ""
    return f"{done.queue}: {done.rows:,} rows are tried again{more}{note}\n"


def _clear(context: Context) -> int:
    cleared = context.client.clear_queue(context.args.queue, reason=context.args.reason)
    context.output.result(
        cleared,
        lambda: (
            f"{cleared.queue}: {cleared.wake_ups:,} wake-ups removed; {cleared.rows:,} rows of work wait in Postgres all the same\n"
        ),
    )
    return 0


def _workers(context: Context) -> int:
    found = context.client.workers()
    context.output.result(found, lambda: _text(found))
    return 0


def _text(found: Workers) -> str:
    pools = "".join(
        f"supervisor on {shown(supervisor.host)}, pid {supervisor.pid}, {supervisor.state}: {_pools(supervisor)}\n"
        for supervisor in found.supervisors
    )
    return pools + rows_text(found.workers, _WORKERS)


def _pools(supervisor: Supervisor) -> str:
    return "; ".join(
        f"{shown(name)} {pool.running} of {pool.processes_min} to {pool.processes_max}"
        for name, pool in supervisor.pools.items()
    )


def _restart(context: Context) -> int:
    context.confirm("Restart all workers? What is in progress ends first.")
    made = context.client.restart_workers(reason=context.args.reason)
    alone = f"; {made.alone} without a supervisor end; start them again" if made.alone else ""
    context.output.result(
        made, lambda: f"{made.supervised} workers are replaced one after the other{alone}\n"
    )
    return 0
