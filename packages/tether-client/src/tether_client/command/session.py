"""`tether login`, `tether logout`, `tether status` and `tether top`."""

import getpass
import ipaddress
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from tether_client.client import Client
from tether_client.command.arguments import Commands, add, whole
from tether_client.command.context import Context
from tether_client.command.output import cleaned, fitted, money, shown
from tether_client.credentials import DEFAULT_PROFILE, Credentials, checked_url, forget, store
from tether_client.errors import Refused, Unavailable
from tether_client.operation import ListedQueue, StoreStatus
from tether_client.pages import PAGE_MAX, Page

__all__ = ["add_commands"]

_ACTIVE: Final = ("planning", "canary", "running", "paused")
# The terminal's other screen, so that the shell's lines come back; then the upper left corner, and the rest cleared.
_OTHER_SCREEN, _FIRST_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H\x1b[J"


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    item = add(
        commands,
        "login",
        _login,
        text="check a key and store it for this user, in a file with mode 0600",
        example="tether login --url https://tether.example",
    )
    item.add_argument(
        "--key-stdin", action="store_true", help="read the key from stdin and not from the terminal"
    )
    add(commands, "logout", _logout, text="delete the stored key", example="tether logout --profile staging")
    add(
        commands,
        "status",
        _status,
        text="say whether Tether works, what waits and what needs a person; exit code 1 where notifications cannot be recorded",
        example="tether status --json",
    )
    item = add(
        commands,
        "top",
        _top,
        text="show the status and the active runs, and refresh them until Ctrl-C",
        example="tether top --every 5",
    )
    item.add_argument(
        "--every",
        type=whole(1, 3_600),
        default=2,
        metavar="SECONDS",
        help="the time between two refreshes (default: %(default)s)",
    )
    item.add_argument("--count", type=whole(1), metavar="N", help="end after this many refreshes")


def _login(context: Context) -> int:
    args, output = context.args, context.output
    url = args.url or context.environ.get("TETHER_URL", "")
    if not url:
        raise Refused("Give the address with --url, such as https://tether.example.")
    url = checked_url(url)
    if not _is_protected(url):
        output.note(f"{url} is not encrypted: everybody on the way can read the key. Use https.")
    if args.key_stdin or not sys.stdin.isatty():
        key = sys.stdin.readline().strip()
    else:
        key = getpass.getpass("API key: ", stream=sys.stderr).strip()
    if not key:
        raise Refused("There is no key: type it, or give it on stdin with --key-stdin.")
    with Client(url, api_key=key, timeout_s=args.timeout) as client:
        client.check_key()
    path = store(Credentials(url, key), context.environ, profile=args.profile)
    output.result({"url": url, "file": str(path)}, lambda: f"The key for {url} is stored in {path}.\n")
    return 0


def _is_protected(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _logout(context: Context) -> int:
    was_stored = forget(context.environ, profile=context.args.profile)
    name = context.args.profile or DEFAULT_PROFILE
    text = f"The key of profile {name} is deleted.\n" if was_stored else f"Profile {name} has no key.\n"
    context.output.result({"deleted": was_stored}, lambda: text)
    return 0


def _status(context: Context) -> int:
    found = _measured(context.client)
    context.output.result(found, lambda: _text(found))
    return 0 if found["readiness"].ready else 1


def _top(context: Context) -> int:
    is_terminal = sys.stdout.isatty() and not context.output.is_json
    count = 0
    if is_terminal:
        sys.stdout.write(_OTHER_SCREEN)
    try:
        while True:
            _show(context, is_terminal=is_terminal, is_first=count == 0)
            count += 1
            if count == context.args.count:
                return 0
            time.sleep(context.args.every)
    finally:
        if is_terminal:
            sys.stdout.write(_FIRST_SCREEN)
            sys.stdout.flush()


def _show(context: Context, *, is_terminal: bool, is_first: bool) -> None:
    """Measure and write once. A terminal that has shown something stays open while a node is away."""
    try:
        found = _measured(context.client)
    except Unavailable as exc:
        if is_first or not is_terminal:
            raise
        context.output.write(_HOME + _for_terminal(cleaned(str(exc)) + "\n"))
        return
    text = _text(found)
    context.output.result(found, lambda: _HOME + _for_terminal(text) if is_terminal else text)


def _for_terminal(text: str) -> str:
    """What of the text the terminal shows now; a longer one would push its first lines out of sight."""
    size = shutil.get_terminal_size()
    return fitted(text, columns=size.columns, lines=size.lines - 1)


def _measured(client: Client) -> dict[str, Any]:
    """What works, what is in progress, and what needs a person."""
    readiness = client.readiness()
    found: dict[str, Any] = {"readiness": readiness}
    if not readiness.postgres:
        return found
    return found | {
        "queues": client.queues(),
        "stores": client.store_status(),
        "runs": [run for status in _ACTIVE for run in client.runs(status=status, limit=10).items],
        "uploads_with_questions": _count(client.uploads, status="needs_answer"),
        "notifications": {
            state: _count(client.notifications, status=state)
            for state in ("waiting", "parked", "conflicting", "contradicted")
        },
        "unknown_payments": _count(client.payments, status="unknown"),
        "open_differences": _count(client.differences),
    }


def _count(listing: Callable[..., Page[Any]], **filters: Any) -> dict[str, Any]:
    """The number of rows of the first page, and whether there are more."""
    page = listing(limit=PAGE_MAX, **filters)
    return {"count": len(page.items), "more": page.next is not None}


def _number(count: dict[str, Any]) -> str:
    return f"{count['count']:,}{'+' if count['more'] else ''}"


def _text(found: dict[str, Any]) -> str:
    ready = found["readiness"]
    works = {
        "postgres": ready.postgres,
        "redis": ready.redis,
        "objects": ready.objects,
        "gateway password": ready.gateway_password,
    }
    away = [name for name, is_there in works.items() if not is_there]
    lines = [
        f"notifications {'are recorded' if ready.ready else 'CANNOT BE RECORDED'}"
        + (f"; does not answer: {', '.join(away)}" if away else "; Postgres, Redis and object store answer")
    ]
    if ready.refused:
        lines.append(cleaned(ready.refused))
    if ready.oldest_waiting_s is not None:
        lines.append(f"oldest waiting notification: {ready.oldest_waiting_s:,.0f} s")
    if "runs" not in found:
        return "\n".join(lines) + "\n"
    lines.append(
        "notifications: " + ", ".join(f"{state} {_number(n)}" for state, n in found["notifications"].items())
    )
    lines.append(f"payments of unknown outcome: {_number(found['unknown_payments'])}")
    lines.append(f"open differences: {_number(found['open_differences'])}")
    lines.append(f"uploads with questions: {_number(found['uploads_with_questions'])}")
    lines += [_queue_text(queue) for queue in found["queues"]]
    lines += _stores_text(found["stores"])
    for run in found["runs"]:
        why = f"; {shown(run.pause_reason)}" if run.pause_reason else ""
        lines.append(f"run {run.id}  {run.state}  {run.count:,} debits of {money(run.amount_minor)}{why}")
    if not found["runs"]:
        lines.append("no run is active")
    return "\n".join(lines) + "\n"


def _queue_text(queue: ListedQueue) -> str:
    paused = (
        f"; paused by {shown(queue.paused.paused_by)}: {shown(queue.paused.reason)}" if queue.paused else ""
    )
    oldest = f", the oldest due for {queue.oldest_s:,.0f} s" if queue.rows else ""
    workers = f"{queue.workers} workers" if queue.workers else "NO WORKER"
    return f"queue {queue.name}: {queue.rows:,} rows{oldest}; {workers}, {queue.handled_per_s:,.1f} a second{paused}"


def _stores_text(stores: StoreStatus) -> list[str]:
    lines = []
    if stores.postgres:
        used = stores.postgres
        lines.append(
            f"postgres: {used.connections} of {used.connections_max} connections, {_mebibytes(used.database_bytes)}, "
            f"oldest transaction {used.oldest_transaction_s:,.0f} s"
        )
    if stores.redis:
        memory = stores.redis
        most = _mebibytes(memory.memory_max_bytes) if memory.memory_max_bytes else "no limit"
        evicted = f"; {memory.evicted_keys:,} KEYS EVICTED, set noeviction" if memory.evicted_keys else ""
        lines.append(
            f"redis: {_mebibytes(memory.memory_bytes)} of {most}, {memory.connections} connections, "
            f"{sum(memory.wake_ups.values()):,} wake-ups{evicted}"
        )
    return lines


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
