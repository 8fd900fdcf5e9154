"""
`tether-worker secrets`: what is sealed under TETHER_SECRETS_KEY, and the change to another key.

    tether-worker secrets show                                               how many texts each key opens
    tether-worker secrets reseal --by ada --reason "the old key leaked"     seal all of them anew under the first key

1. `tether-worker accounts new-key` prints a new key. Set TETHER_SECRETS_KEY=old,new on every web node and worker, and restart them: all can read with both.
2. Set TETHER_SECRETS_KEY=new,old everywhere, and restart them: all write with the new one.
3. Run `reseal` once. It can be interrupted and run again.
4. Where `show` ends with 0, remove the old key everywhere.

Sealed are the credentials of gateway accounts, the secrets of subscribers, second factors, and the bodies of refused notifications. Signatures of pre-flight
reports are not made anew: they verify as long as the key that made them is listed.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from tether_core.audit import facts
from tether_core.errors import InvalidRequest
from tether_stores import audit, secrets_key
from tether_stores.clock import timestamp
from tether_stores.postgres import Connection, Pool, connection, open_pool, transaction
from tether_stores.secrets_key import SEALED, SealedCounts, SealedKind
from tether_stores.settings import Settings
from tether_stores.telemetry import logger

__all__ = ["TITLES", "add_commands", "count", "reseal", "unopenable_text"]

# A body has up to 64 KiB: a batch is a few megabytes at most.
BATCH_MAX: Final = 100
TITLES: Final[dict[SealedKind, str]] = {
    "accounts": "gateway accounts",
    "subscribers": "subscribers",
    "second_factors": "second factors",
    "quarantine": "refused notifications",
}
_UNOPENABLE: Final[dict[SealedKind, str]] = {
    "accounts": "store each again by `tether-worker accounts put`",
    "subscribers": "make each a new secret by `tether subscribers rotate`",
    "second_factors": "remove each by `tether-worker users reset --second-factor`",
    "quarantine": "they expire by themselves",
}

_log = logger("secrets")


async def count(
    conn: Connection, keys: Sequence[str], *, batch_max: int = BATCH_MAX
) -> dict[SealedKind, SealedCounts]:
    """
    How many texts of each kind are current, former and unopenable.

    Args:
        keys: `TETHER_SECRETS_KEY`, the one to write with first.
        batch_max: Texts that are read at a time.

    Raises:
        InvalidRequest: without a usable key.
    """
    found = dict[SealedKind, SealedCounts]()
    for kind in SEALED:
        total = SealedCounts()
        after: str | int | None = None
        while True:
            some = await secrets_key.texts(conn, kind, after=after, limit=batch_max)
            total += secrets_key.counted(some, keys=keys)
            if len(some) < batch_max:
                break
            after = some[-1].key
        found[kind] = total
    return found


async def reseal(
    pool: Pool,
    keys: Sequence[str],
    *,
    ordered_by: str,
    reason: str,
    batch_max: int = BATCH_MAX,
) -> dict[SealedKind, int] | None:
    """
    Seal all former texts anew under the first key; it can be interrupted and called again.

    A row that another transaction holds meanwhile is passed over; `count` tells.

    Args:
        keys: `TETHER_SECRETS_KEY`, the one to write with first.
        ordered_by: Who wants it; kept.
        reason: Why; kept.
        batch_max: Texts of one transaction.

    Returns:
        How many texts of each kind were sealed anew; `None` when there was nothing to do.

    Raises:
        InvalidRequest: without a usable key.
    """
    async with connection(pool) as conn:
        before = await count(conn, keys, batch_max=batch_max)
    if not any(counts.former for counts in before.values()):
        return None
    former = {f"former_{kind}": counts.former for kind, counts in before.items()}
    async with transaction(pool) as conn:
        await audit.record(
            conn,
            audit.operator(),
            "secrets.resealed",
            subject="secrets_key",
            reason=reason,
            before=facts(**former),
            after=facts(by=ordered_by),
            now=await timestamp(conn),
        )
    _log.warning("resealing began", ordered_by=ordered_by, **former)
    done = dict.fromkeys(SEALED, 0)
    for kind in SEALED:
        after: str | int | None = None
        while True:
            async with transaction(pool) as conn:
                some = await secrets_key.texts(conn, kind, after=after, limit=batch_max)
                done[kind] += await secrets_key.replace(
                    conn, kind, list(secrets_key.resealed(some, keys=keys))
                )
            if len(some) < batch_max:
                break
            after = some[-1].key
    _log.warning("resealing ended", **{f"resealed_{kind}": number for kind, number in done.items()})
    return done


def add_commands(commands: Any) -> None:
    """Add `secrets` to a command line."""
    parser = commands.add_parser("secrets", help="what is sealed under TETHER_SECRETS_KEY, and changing it")
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    item = kinds.add_parser(
        "show",
        help="how many sealed texts each key opens; exit code 1 where the first key does not open all of them",
        epilog="Example: tether-worker secrets show",
    )
    item.set_defaults(do=_show, needs=("DATABASE_URL",))
    item = kinds.add_parser(
        "reseal",
        help="seal everything anew under the first key of TETHER_SECRETS_KEY",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    item.add_argument("--by", required=True, metavar="NAME", help="who wants it; kept")
    item.add_argument("--reason", required=True, metavar="TEXT", help="why; kept")
    item.set_defaults(do=_reseal, needs=("DATABASE_URL",))


def _show(_args: argparse.Namespace, settings: Settings) -> int:
    return _listed(asyncio.run(_counted(settings)))


def _reseal(args: argparse.Namespace, settings: Settings) -> int:
    if not args.by.strip() or not args.reason.strip():
        raise InvalidRequest("say who wants it (--by) and why (--reason)")
    done, left = asyncio.run(_resealed(args, settings))
    if done is None:
        sys.stdout.write(
            "nothing to do: the first key of TETHER_SECRETS_KEY has sealed all that any key opens\n"
        )
    else:
        number = sum(done.values())
        sys.stdout.write(f"sealed anew: {number:,} {'text' if number == 1 else 'texts'}\n")
    return _listed(left)


def unopenable_text(kind: SealedKind, number: int) -> str:
    """What to do about *number* texts of a kind that no key opens, as a sentence."""
    return (
        f"{number:,} {TITLES[kind]} are opened by no key here: put the key that sealed them at the end of TETHER_SECRETS_KEY, "
        f"or, where it is lost, {_UNOPENABLE[kind]}."
    )


def _listed(found: Mapping[SealedKind, SealedCounts]) -> int:
    console = Console()
    table = Table("sealed", "by the first key", "by a former key", "by no key here")
    for kind, counts in found.items():
        table.add_row(TITLES[kind], f"{counts.current:,}", f"{counts.former:,}", f"{counts.unopenable:,}")
    console.print(table)
    for kind, counts in found.items():
        if counts.former:
            text = f"{counts.former:,} {TITLES[kind]} are sealed under a former key: run `tether-worker secrets reseal` before that key is removed."
            console.print(text, soft_wrap=True)
        if counts.unopenable:
            console.print(unopenable_text(kind, counts.unopenable), soft_wrap=True)
    return 1 if any(counts.former or counts.unopenable for counts in found.values()) else 0


async def _counted(settings: Settings) -> dict[SealedKind, SealedCounts]:
    async with (
        open_pool(settings.database_url, name="tether-secrets", max_size=1) as pool,
        connection(pool) as conn,
    ):
        return await count(conn, settings.secrets_key)


async def _resealed(
    args: argparse.Namespace, settings: Settings
) -> tuple[dict[SealedKind, int] | None, dict[SealedKind, SealedCounts]]:
    async with open_pool(settings.database_url, name="tether-secrets", max_size=1) as pool:
        done = await reseal(
            pool, settings.secrets_key, ordered_by=args.by.strip(), reason=args.reason.strip()
        )
        async with connection(pool) as conn:
            return done, await count(conn, settings.secrets_key)
