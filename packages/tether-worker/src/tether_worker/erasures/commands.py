"""
`tether-worker erasures`: list the orders to erase personal data, and erase again what a restore brought back.

    tether-worker erasures list
    tether-worker erasures apply

Run `apply` after each restore of the database: the list of erasures in the object store says whose data is to be erased again. A worker of
queue default does the same every hour. `apply` carries out open orders, too; exit code 75 where one of them waits (docs/concepts/erasure.md).
"""

import argparse
import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from tether_stores.clock import timestamp
from tether_stores.command_line import whole
from tether_stores.erasures import orders
from tether_stores.erasures.orders import ErasureOrder
from tether_stores.objects import open_objects
from tether_stores.postgres import connection, open_pool
from tether_stores.settings import Settings

from tether_worker.erasures.erase import ErasureDeps, Step, apply_list, erase_once

__all__ = ["add_commands"]

_LISTED_MAX: Final = 1_000
_WAITS_CODE: Final = 75


def add_commands(commands: Any) -> None:
    """Add `erasures` to a command line."""
    parser = commands.add_parser(
        "erasures",
        help="list the orders to erase personal data, and erase again what a restore brought back",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    item = kinds.add_parser("list", help="orders, newest first, at most a thousand")
    item.add_argument("--before", type=whole(1, 2**63 - 1), metavar="ORDER", help="only older ones than this")
    item.add_argument("--json", action="store_true", help="for programs")
    item.set_defaults(do=_list, needs=("DATABASE_URL",))
    item = kinds.add_parser("apply", help="erase again what a restore brought back")
    item.set_defaults(do=_apply, needs=("DATABASE_URL",))


def _list(args: argparse.Namespace, settings: Settings) -> int:
    for order in asyncio.run(_listed(settings, before=args.before)):
        if args.json:
            sys.stdout.write(f"{msgspec.json.encode(order).decode()}\n")
        else:
            sys.stdout.write(
                f"{order.id}  {order.created_at:%Y-%m-%d}  {_state(order)}  {_debtors(order.debtor_ids)}\n"
            )
    return 0


def _state(order: ErasureOrder) -> str:
    if order.refused_at is not None:
        return "refused"
    if order.finished_at is not None:
        return "finished"
    return "ordered" if order.erased_at is None else "erasing"


def _debtors(ids: list[int]) -> str:
    return f"debtor {ids[0]}" if len(ids) == 1 else f"{len(ids)} debtors, {ids[0]} among them"


async def _listed(settings: Settings, *, before: int | None) -> list[ErasureOrder]:
    async with _pool(settings) as pool, connection(pool) as conn:
        return await orders.listed(conn, limit=_LISTED_MAX, before=before)


def _apply(_args: argparse.Namespace, settings: Settings) -> int:
    made, steps = asyncio.run(_applied(settings))
    sys.stdout.write(f"erasures ordered again: {len(made)}\n")
    for order_id, step in steps.items():
        sys.stdout.write(f"erasure {order_id}: {step}\n")
    return _WAITS_CODE if "waits" in steps.values() else 0


async def _applied(settings: Settings) -> tuple[list[int], dict[int, Step]]:
    async with _deps(settings) as deps:
        return await apply_list(deps, at_once=True), await erase_once(deps)


@asynccontextmanager
async def _deps(settings: Settings) -> AsyncIterator[ErasureDeps]:
    async with _pool(settings) as pool:
        async with connection(pool) as conn:
            now = await timestamp(conn)
        yield ErasureDeps(
            pool, open_objects(settings), lambda: now, lambda: secrets.token_hex(8), lambda: False
        )


def _pool(settings: Settings) -> Any:
    return open_pool(settings.database_url, name="tether-erasures", max_size=2)
