"""Which rows of the inbox hold money, and when the gateway's contradictions end that."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_sandbox.seed import seed
from tether_stores import holds

if TYPE_CHECKING:
    from tether_stores.postgres import Connection

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


class World:
    """One debit, and the reports about it."""

    def __init__(self, conn: Connection, debit: Any) -> None:
        self.conn, self.debit = conn, debit

    async def hear(
        self, key: str, *, state: str = "confirming", minutes: tuple[int, ...] = (), **columns: Any
    ) -> None:
        """Put a row into the inbox, contradicted at some minutes before now."""
        at = [NOW - timedelta(minutes=minute) for minute in minutes]
        values = {
            "key": key.encode(),
            "content": b"c",
            "account": "default",
            "kind": "payment",
            "notification_id": self.debit.unique_id,
            "status": "chargebacked",
            "event": "chargeback",
            "source": "webhook",
            "content_type": "form",
            "body": b"x",
            "state": state,
            "failures": 0,
            "received_at": NOW,
            "next_at": NOW if state in {"waiting", "confirming"} else None,
            "contradicted_count": len(at),
            "first_contradicted_at": min(at, default=None),
            "last_contradicted_at": max(at, default=None),
            **columns,
        }
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        await self.conn.execute(
            f"insert into webhook_events ({names}) values ({places})", list(values.values())
        )

    async def held(self) -> tuple[bool, bool, bool]:
        """Whether a dispute holds refunds, a return does, and whether the account is held."""
        heard = (await holds.of_refunds(self.conn, [self.debit.id], now=NOW))[self.debit.id]
        row = await (
            await self.conn.execute(
                "select iban_fingerprint from billing_attempts where id = %s", [self.debit.id], binary=True
            )
        ).fetchone()
        assert row is not None
        account = bytes(row[0])
        held = await holds.accounts_held(self.conn, [account, b"another"], now=NOW)
        return heard.dispute, heard.returned, held == {account}


@pytest.fixture
async def world(conn: Connection, database_url: str) -> World:
    """A debit without reports."""
    (debit,) = seed(database_url, attempts=1, rng=random.Random(1), now=NOW)
    return World(conn, debit)


@pytest.mark.parametrize(
    ("state", "columns", "held"),
    [
        ("waiting", {}, (True, False, True)),
        ("confirming", {}, (True, False, True)),
        ("parked", {}, (True, False, True)),
        ("processed", {}, (False, False, False)),
        ("contradicted", {}, (False, False, False)),
        ("waiting", {"event": None}, (True, False, True)),
        ("waiting", {"event": "second_chargeback", "status": "second_chargebacked"}, (True, False, True)),
        ("waiting", {"event": "retrieval_request"}, (False, False, False)),
        ("waiting", {"event": "chargeback_reversal", "status": "chargeback_reversed"}, (False, False, False)),
        ("waiting", {"event": None, "status": "refunded"}, (False, True, False)),
        ("confirming", {"event": None, "status": "voided"}, (False, True, False)),
        (
            "waiting",
            {"account": "second"},
            (False, False, False),
        ),  # signed by who has nothing to say about it
        ("waiting", {"kind": "wpf"}, (False, False, False)),
    ],
)
async def test_what_holds(
    world: World, state: str, columns: dict[str, Any], held: tuple[bool, bool, bool]
) -> None:
    """Too little and the money goes back twice; too much and anybody freezes an account."""
    await world.hear("k", state=state, **columns)
    assert await world.held() == held


@pytest.mark.parametrize(
    ("minutes", "held"),
    [
        ((), True),
        ((30,), True),  # once: its record may lag
        ((9, 0), True),  # twice, but too soon
        ((11, 0), False),
        ((30, 20, 10), False),
        ((60 * 26, 60 * 25), True),  # what was contradicted yesterday says nothing about today
    ],
)
async def test_contradictions_end_the_hold(world: World, minutes: tuple[int, ...], held: bool) -> None:  # noqa: FBT001 - a column
    """A lagging record must be waited for, and a forger must not be waited for."""
    await world.hear("k", minutes=minutes)
    assert await world.held() == (held, False, held)


async def test_whoever_varies_a_report_gains_no_time(world: World) -> None:
    """Each variation would hold for ten minutes more, and the account would be frozen for ever."""
    await world.hear("old", state="contradicted", minutes=(120, 60))
    for number in range(3):
        await world.hear(f"new-{number}", state="waiting")
    assert await world.held() == (False, False, False)
    await world.hear("refunded", event=None, status="refunded", minutes=(30, 10))
    assert await world.held() == (False, False, False)
