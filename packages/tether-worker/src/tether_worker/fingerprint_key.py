"""
`tether-worker fingerprints`: the key of the account fingerprints, and the change to another key.

    tether-worker fingerprints show                                              the key's state, rekeyings, unmatched entries
    tether-worker fingerprints rekey --by ada --reason "the old key leaked"     make all anew with TETHER_FINGERPRINT_KEY

Set the new key everywhere, then run `rekey` once. Nothing but the new key is needed: a fingerprint is computed anew from the
account beside it. Until it has ended, no file is read and no debit is submitted, on no node; notifications are recorded and
processed as ever. It can be interrupted and run again. Blacklist entries whose account no debtor has cannot be made anew;
they are listed, and hold nobody until a person makes them again with the IBAN.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_core.fingerprint_key import REASONS, KeyState
from tether_stores import audit, fingerprint_key
from tether_stores.clock import timestamp
from tether_stores.fingerprint_key import BegunRekeying, Rekeying, UnmatchedEntry
from tether_stores.postgres import Pool, connection, open_pool, transaction
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

__all__ = ["Outcome", "add_commands", "rekey"]

# Large enough to share the commit, small enough that notifications of these debtors' debits are not kept waiting.
BATCH_MAX: Final = 1_000
_PROGRESS_ROWS: Final = 20_000

_log = logger("fingerprints")

Outcome = tuple[BegunRekeying, list[UnmatchedEntry]]


async def rekey(
    pool: Pool,
    key: bytes,
    *,
    ordered_by: str,
    reason: str,
    again: bool = False,
    batch_max: int = BATCH_MAX,
    progress: Callable[[BegunRekeying], None] = lambda _: None,
) -> Outcome | None:
    """
    Recompute all fingerprints of a database, or continue an interrupted rekeying.

    Args:
        key: The key they shall be made with; empty for none.
        ordered_by: Who wants it; kept.
        reason: Why; kept.
        again: Whether to do it although all are made with this key already, as far as is recorded.
        batch_max: Debtors of one transaction.
        progress: Called after each batch.

    Returns:
        What changed, and the blacklist entries that could not be; `None` when there was nothing to do.

    Raises:
        StoreUnreachable: when Postgres is away; what is done stays, run it again.
        FingerprintKeyRefused: when a rekeying to another key was started in the meantime.
    """
    async with transaction(pool) as conn:
        now = await timestamp(conn)
        begun = await fingerprint_key.begin(
            conn, key, ordered_by=ordered_by, reason=reason, again=again, now=now
        )
        if begun is not None:
            await audit.record(
                conn,
                audit.operator(),
                "fingerprint_key.replaced",
                subject="rekeying",
                subject_id=begun.id,
                reason=reason,
                after=facts(by=ordered_by, again=again, position=begun.position),
                now=now,
            )
    if begun is None:
        return None
    _log.warning(
        "rekeying began; files are not read and debits not submitted until it ends",
        rekeying_id=begun.id,
        ordered_by=ordered_by,
        position=begun.position,
    )
    while True:
        async with transaction(pool) as conn:
            further = await fingerprint_key.advance(conn, key, limit=batch_max, now=await timestamp(conn))
            if further is None:
                await fingerprint_key.finish(conn, begun, key, now=await timestamp(conn))
                left = await fingerprint_key.unmatched(conn)
                break
        begun = further
        progress(begun)
    _log.warning(
        "rekeying ended",
        rekeying_id=begun.id,
        debtors=begun.debtors,
        attempts=begun.attempts,
        entries=begun.entries,
        unmatched=len(left),
    )
    return begun, left


def add_commands(commands: Any) -> None:
    """Add `fingerprints` to a command line."""
    fingerprints = commands.add_parser(
        "fingerprints", help="the key of the accounts' fingerprints, and changing it"
    )
    kinds = fingerprints.add_subparsers(required=True, metavar="COMMAND")
    parser = kinds.add_parser("show", help="whether this key is the database's, and entries that hold nobody")
    parser.set_defaults(do=_show, needs=("DATABASE_URL",))
    parser = kinds.add_parser(
        "rekey",
        help="make all fingerprints anew with TETHER_FINGERPRINT_KEY",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--by", required=True, metavar="NAME", help="who wants it; kept")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    parser.add_argument(
        "--again",
        action="store_true",
        help="even if all are made with this key already, as far as is recorded",
    )
    parser.set_defaults(do=_rekey, needs=("DATABASE_URL",))


def _show(_args: argparse.Namespace, settings: Settings) -> int:
    state, done, left = asyncio.run(_shown(settings))
    console = Console()
    console.print(
        "This key is the database's." if state == "matches" else f"{REASONS[state]}.", soft_wrap=True
    )
    for item in done:
        ended = item.finished_at or item.superseded_at
        outcome = "finished" if item.finished_at else "superseded" if item.superseded_at else "under way"
        console.print(
            f"rekeying {item.id} by {item.ordered_by} ({item.reason}): began {item.started_at:%Y-%m-%d %H:%M}, {outcome}"
            f"{f' {ended:%Y-%m-%d %H:%M}' if ended else ''}; {item.debtors:,} debtors, {item.attempts:,} attempts and "
            f"{item.entries:,} entries changed, {item.unmatched:,} entries could not be",
            soft_wrap=True,
        )
    _list(console, left)
    return 0 if state == "matches" and not left else 1


def _rekey(args: argparse.Namespace, settings: Settings) -> int:
    if not args.by.strip() or not args.reason.strip():
        raise InvalidRequest("say who wants it (--by) and why (--reason)")

    def progress(begun: BegunRekeying) -> None:
        if begun.position // _PROGRESS_ROWS != (begun.position - BATCH_MAX) // _PROGRESS_ROWS:
            sys.stderr.write(f"up to debtor {begun.position:,}\n")

    outcome = asyncio.run(_rekeyed(args, settings, progress=progress))
    if outcome is None:
        sys.stdout.write("nothing to do: all fingerprints are made with this key (--again insists)\n")
        return 0
    begun, left = outcome
    console = Console()
    console.print(
        f"changed: {begun.debtors:,} debtors, {begun.attempts:,} attempts, {begun.entries:,} blacklist entries. "
        "Every node needs this key now.",
        soft_wrap=True,
    )
    _list(console, left)
    return 1 if left else 0


def _list(console: Console, left: list[UnmatchedEntry]) -> None:
    if not left:
        return
    console.print(
        f"{len(left):,} blacklist entries are about accounts that no debtor has, so they could not be made anew and hold "
        "nobody. Make each again with its IBAN (POST /api/blacklist), then lift the old one:",
        soft_wrap=True,
    )
    table = Table("entry", "account", "action", "reason", "source", "since")
    for unmatched_entry in left:
        table.add_row(
            str(unmatched_entry.id),
            unmatched_entry.iban_masked,
            unmatched_entry.action,
            unmatched_entry.reason_code,
            unmatched_entry.source,
            f"{unmatched_entry.created_at:%Y-%m-%d}",
        )
    console.print(table)


async def _shown(settings: Settings) -> tuple[KeyState, list[Rekeying], list[UnmatchedEntry]]:
    async with (
        open_pool(settings.database_url, name="tether-fingerprints", max_size=1) as pool,
        connection(pool) as conn,
    ):
        return (
            await fingerprint_key.observe(conn, settings.fingerprint_key.encode()),
            await fingerprint_key.rekeyings(conn),
            await fingerprint_key.unmatched(conn),
        )


async def _rekeyed(
    args: argparse.Namespace, settings: Settings, *, progress: Callable[[BegunRekeying], None]
) -> Outcome | None:
    async with open_pool(settings.database_url, name="tether-fingerprints", max_size=1) as pool:
        return await rekey(
            pool,
            settings.fingerprint_key.encode(),
            ordered_by=args.by.strip(),
            reason=args.reason.strip(),
            again=args.again,
            progress=progress,
        )
