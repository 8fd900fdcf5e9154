"""Which rows of the inbox hold money, and when the gateway's contradictions end that."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from tether_core.holds import Reported
from tether_sandbox.seed import seed
from tether_stores import holds
from tether_stores.holds import HeldAccount

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

    async def heard(self) -> Reported:
        """What holds refunds."""
        return (await holds.of_refunds(self.conn, [self.debit.id], now=NOW))[self.debit.id]

    async def account(self) -> HeldAccount | None:
        """What holds the account."""
        row = await (
            await self.conn.execute(
                "select iban_fingerprint from billing_attempts where id = %s", [self.debit.id], binary=True
            )
        ).fetchone()
        assert row is not None
        held = await holds.accounts_held(self.conn, [bytes(row[0]), b"another"], now=NOW)
        return held.get(bytes(row[0]))

    async def held(self) -> tuple[bool, bool, bool]:
        """Whether a dispute holds refunds, a return does, and whether a dispute holds the account."""
        heard, account = await self.heard(), await self.account()
        return heard.dispute, heard.returned, account is not None and account.dispute


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


async def test_varying_a_report_gains_no_time(world: World) -> None:
    """Each variation would hold for ten minutes more, and the account would be frozen for ever."""
    await world.hear("old", state="contradicted", minutes=(120, 60))
    for number in range(3):
        await world.hear(f"new-{number}", state="waiting")
    assert await world.held() == (False, False, False)
    await world.hear("refunded", event=None, status="refunded", minutes=(30, 10))
    assert await world.held() == (False, False, False)


@pytest.mark.parametrize(
    ("payment", "dispute", "columns", "held"),
    [
        (50, 0, {"event": None, "status": "approved"}, True),
        (40, 0, {"event": None, "status": "approved", "state": "parked"}, True),
        (60, 0, {"event": None, "status": "approved"}, False),  # it is collected, so its due item is not free
        (50, 0, {"event": None, "status": "pending_async"}, False),
        (50, 0, {"event": None, "status": "approved", "account": "second"}, False),
        (60, 1, {"event": "chargeback_reversal", "status": "chargeback_reversed"}, True),
        (60, 1, {"event": None, "status": "represented"}, True),
        (60, 1, {"event": None, "status": "approved"}, False),  # the approval before the chargeback, late
        (60, 2, {"event": "chargeback_reversal", "status": "chargeback_reversed"}, False),
        (50, 0, {"event": None, "status": "approved", "minutes": (11, 0)}, False),
        (50, 0, {"event": None, "status": "approved", "minutes": (9, 0)}, True),
    ],
)
async def test_a_debit_that_may_be_collected_after_all_holds_its_account(
    world: World,
    payment: int,
    dispute: int,
    columns: dict[str, Any],
    held: bool,  # noqa: FBT001 - a column
) -> None:
    """Its due item looks free while the report waits to be confirmed, and a second debit would collect it once more."""
    state = {0: {40: "error", 50: "declined", 60: "approved"}[payment], 1: "chargebacked", 2: "approved"}[
        dispute
    ]
    await world.conn.execute(
        "update billing_attempts set payment_stage = %s, dispute_stage = %s, state = %s",
        [payment, dispute, state],
    )
    await world.hear("k", **columns)
    assert await world.account() == (HeldAccount(dispute=False, collection=True) if held else None)


@pytest.mark.parametrize(
    ("payment", "columns", "failed"),
    [
        (60, {"status": "declined"}, True),
        (60, {"status": "timeout", "state": "parked"}, True),
        (20, {"status": "declined"}, False),  # nothing is collected that a refund could return
        (60, {"status": "declined", "state": "processed"}, False),
        (60, {"status": "declined", "minutes": (30, 10)}, False),
    ],
)
async def test_a_collected_debit_that_may_have_failed_is_not_refunded(
    world: World,
    payment: int,
    columns: dict[str, Any],
    failed: bool,  # noqa: FBT001 - a column
) -> None:
    """The refund would give money away that the debtor never paid."""
    await world.conn.execute("update billing_attempts set payment_stage = %s, state = 'approved'", [payment])
    await world.hear("k", event=None, **columns)
    assert await world.heard() == Reported(failed=failed)
