"""Edits of debtors: what a person corrects is read like a file, screened again, counted, kept, and never debited by mistake."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core import iban as ibans
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.queries import load

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

DE, AT, NL = "DE89370400440532013000", "AT611904300234573201", "NL91ABNA0417164300"
FR = "FR1420041010050500013M02606"
NOW = datetime.now(UTC)
# It would read as a placeholder, a name or a number; a person sends it as any of these.
UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"iban": "DE88370400440532013000"}, "iban: Its check digits do not fit"),
    ({"iban": "N/A"}, "iban: The cell stands for"),
    ({"iban": None}, "iban: There is no IBAN"),
    ({"iban": "TR330006100519786457841326"}, "iban: Accounts in TR cannot be debited within SEPA"),
    ({"name": "4711"}, "name: The name holds no letter"),
    ({"name": ""}, "name: There is no name"),
    ({"name": "x" * 71}, "name: The name has 71 characters"),
    ({"amount_minor": 0}, "amount_minor: 0.00 is not above zero"),
    ({"amount_minor": "12,50"}, "amount_minor: "),
    ({"amount_minor": None}, "amount_minor: There is no amount"),
    ({"amount_minor": 5_000_001}, "amount_minor: 50,000.01 is above the largest amount"),
    ({"email": "nobody"}, "email: This is no e-mail address"),
    ({"mandate_id": "ä" * 36}, "mandate_id: A mandate has at most 35 characters"),
    ({"bic": "X"}, "bic: A BIC has 8 or 11 letters"),
    ({"mandate_signed_on": "2999-01-01"}, "mandate_signed_on: 2999-01-01 lies in the future"),
    ({"mandate_signed_on": "31.12.2025"}, "mandate_signed_on: "),
    ({"country": "Atlantis"}, "country: This country is unknown"),
    ({"reference": "NULL"}, "reference has a value that stands for none"),
    ({"reference": "x\x00y"}, "reference contains a zero byte; remove it."),
    ({"iban": "DE88370400440532013000", "amount_minor": -5}, "amount_minor: -0.05 is not above zero"),
]


class World:
    """An upload of some debtors, and the API."""

    def __init__(self, api: httpx.AsyncClient, database_url: str, *owed: Owed) -> None:
        self.api = api
        self.database_url = database_url
        self.upload_id, self.ids = seed_upload(database_url, owed, now=NOW)
        total = sum(item.amount_minor for item in owed)
        self.ask("update uploads set amount_minor = %s where id = %s", total, self.upload_id)

    def ask(self, query: str, *values: Any) -> list[Any]:
        """Ask the database."""
        with psycopg.connect(self.database_url, autocommit=True) as conn:
            cursor = conn.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    async def edit(
        self, debtor_id: int, version: int = 0, *, reason: str = "typing error", **body: Any
    ) -> httpx.Response:
        """Send an edit."""
        known = {"version": version, "reason": reason, **body}
        return await self.api.patch(f"/api/debtors/{debtor_id}", json=known)

    def counts(self) -> tuple[Any, ...]:
        """Stored, excluded, amount and verdicts of the upload."""
        row: tuple[Any, ...] = self.ask(
            "select stored, excluded, amount_minor, verdict_counts::text from uploads where id = %s",
            self.upload_id,
        )[0]
        return (*row[:3], json.loads(row[3]))

    def attempt(self, debtor_id: int, state: str, **columns: Any) -> int:
        """Give a debtor a debit."""
        stages = {
            "pending": (0, 0), "unknown": (10, 0), "approved": (60, 0), "declined": (40, 0), "error": (50, 0), "voided": (70, 0),
            "refunded": (80, 0), "chargebacked": (60, 1),
        }[state]  # fmt: skip
        values = {
            "account": "default", "debtor_id": debtor_id, "transaction_id": f"t-{debtor_id}-{state}", "amount_minor": 1000,
            "currency": "EUR", "state": state, "payment_stage": stages[0], "dispute_stage": stages[1],
            "iban_fingerprint": ibans.fingerprint(DE), "iban_masked": ibans.mask(DE), "created_at": NOW, "updated_at": NOW,
            **columns,
        }  # fmt: skip
        places = ", ".join(["%s"] * len(values))
        query = f"insert into billing_attempts ({', '.join(values)}) values ({places}) returning id"
        return int(self.ask(query, *values.values())[0][0])


@pytest.fixture
def api(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that shows its key."""
    client.headers["Authorization"] = "Bearer test-key"
    return client


@pytest.fixture
def world(api: httpx.AsyncClient, database_url: str) -> World:
    """Three debtors of one upload."""
    return World(
        api, database_url, Owed(DE, 1000, "Ada Ahorn"), Owed(AT, 500, "Ben Birke"), Owed(NL, 700, "Cem Ceder")
    )


async def test_an_edit_is_read_screened_counted_kept_and_announced(world: World) -> None:
    """A corrected account that nobody screened, or counts that do not follow, would surface as money that is missing or too much."""
    debtor_id = world.ids[0]
    world.ask(
        "insert into vop_checks (debtor_id, state, result, score, answered, requested_at, checked_at)"
        " values (%s, 'checked', 'mismatch', 10, 100, %s, %s)",
        debtor_id, NOW, NOW,
    )  # fmt: skip
    payload = (await world.api.get(f"/api/debtors/{debtor_id}")).json()
    assert (payload["version"], payload["edits"], payload["obstacle"]) == (0, [], None)

    changes = {
        "iban": "FR14 2004 1010 0505 0001 3M02 606",
        "name": "Ada  Ahorn-Eiche",
        "amount_minor": 1250,
        "bic": "cobadeffxxx",
    }
    done = await world.edit(
        debtor_id, changes={**changes, "email": "ada@example.org", "mandate_signed_on": "2025-12-31"}
    )
    assert done.status_code == 200, done.text
    body = done.json()
    assert body["debtor"]["version"] == 1
    detail = body["debtor"]["debtor"]
    assert (detail["debtor"]["name"], detail["debtor"]["amount_minor"]) == ("Ada Ahorn-Eiche", 1250)
    assert (detail["bic"], detail["mandate_signed_on"]) == ("COBADEFFXXX", "2025-12-31")
    assert {
        "field": "iban",
        "before": "DE89**************3000",
        "after": ibans.mask(FR),
    } in body["changes"]
    assert FR not in done.text
    assert "370400440532013000" not in done.text

    (row,) = world.ask("select iban, iban_fingerprint, verdict from debtors where id = %s", debtor_id)
    assert row == (FR, ibans.fingerprint(FR), "clear")
    assert world.counts() == (3, 0, 2450, {})
    # The check of the former account says nothing about the new one.
    assert world.ask("select state, result from vop_checks where debtor_id = %s", debtor_id) == [
        ("waiting", None)
    ]
    (kept,) = body["debtor"]["edits"]
    assert (kept["version"], kept["reason"], kept["edited_by"]) == (1, "typing error", "tests")
    (event,) = world.ask("select payload from outbox where name = 'debtor.edited'")
    assert json.loads(event[0]) == {
        "event": "debtor.edited.1", "debtor_id": debtor_id, "upload_id": world.upload_id, "version": 1,
        "fields": ["iban", "name", "amount_minor", "bic", "mandate_signed_on", "email"], "verdict_before": "clear", "verdict": "clear",
    }  # fmt: skip


async def test_an_edit_moves_the_row_between_the_counts(world: World, database_url: str) -> None:
    """A row corrected onto a blocked account must not be billed, and one whose entry was lifted must not stay excluded."""
    first, second = world.ids[:2]
    await world.api.post("/api/blacklist", json={"iban": FR, "note": "asked to be left alone"})
    done = await world.edit(first, changes={"iban": FR})
    assert done.json()["debtor"]["debtor"]["debtor"]["verdict"] == "blacklisted"
    assert world.counts() == (2, 1, 1200, {"blacklisted": 1})
    done = await world.edit(first, 1, changes={"amount_minor": 1100})
    assert (done.json()["verdict_before"], world.counts()) == (
        "blacklisted",
        (2, 1, 1200, {"blacklisted": 1}),
    )
    (entry,) = world.ask("select id from blacklist")
    await world.api.delete(f"/api/blacklist/{entry[0]}", params={"reason": "a mistake"})
    # Without changes it is only screened again.
    done = await world.edit(first, 2, reason="the entry was lifted")
    assert (done.json()["changes"], world.counts()) == ([], (3, 0, 2300, {}))
    # The third row has this account and no reference: the same debit.
    done = await world.edit(first, 3, changes={"iban": NL, "reference": "R1"})
    assert done.json()["debtor"]["debtor"]["debtor"]["verdict"] == "duplicate_in_file", done.text
    assert "row 3" in done.json()["debtor"]["debtor"]["debtor"]["cause"]
    assert world.counts() == (2, 1, 1200, {"duplicate_in_file": 1})
    # The third row gets a reference of its own; then the first one is a debit of its own, too.
    assert (await world.edit(world.ids[2], changes={"reference": "R2"})).status_code == 200
    assert (await world.edit(first, 4)).json()["debtor"]["debtor"]["debtor"]["verdict"] == "clear"
    assert world.counts() == (3, 0, 2300, {})
    # A debit of another upload that is waiting is one debit with this row.
    World(world.api, database_url, Owed(AT, 900, "Ben Birke"))
    done = await world.edit(second, changes={"name": "Ben B. Birke"})
    assert done.json()["debtor"]["debtor"]["debtor"]["verdict"] == "clear", (
        "nothing of its identity was changed"
    )
    done = await world.edit(second, 1, changes={"reference": "R9"})
    assert done.json()["debtor"]["debtor"]["debtor"]["verdict"] == "collected_lately"
    # Screening leaves that to a person.
    done = await world.edit(second, 2, collect=True)
    assert done.json()["debtor"]["debtor"]["debtor"]["verdict"] == "clear"
    assert world.counts() == (3, 0, 2300, {})


@pytest.mark.parametrize(("changes", "sentence"), UNFIT, ids=str)
async def test_a_value_that_no_row_may_have_is_refused(
    world: World, changes: dict[str, Any], sentence: str
) -> None:
    """What a file may not bring in through the door does not come in through the window."""
    answer = await world.edit(world.ids[0], changes=changes)
    assert answer.status_code == 422, answer.text
    assert sentence in answer.json()["detail"]
    assert "DE88370400440532013000" not in answer.text
    assert world.ask("select count(*) from debtor_edits") == [(0,)]
    assert world.counts() == (3, 0, 2200, {})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"reason": "x"}, 400),
        ({"version": 0}, 400),
        ({"version": 0, "reason": " "}, 422),
        ({"version": -1, "reason": "x"}, 400),
        ({"version": 0, "reason": "x", "changes": {"verdict": "clear"}}, 400),
        ({"version": 0, "reason": "x", "changes": {"currency": "USD"}}, 400),
        ({"version": 0, "reason": "x", "changes": {"amount_minor": 12.5}}, 400),
        ({"version": 0, "reason": "x", "changes": {"amount_minor": True}}, 400),
        ({"version": 0, "reason": "x", "changes": {"name": "x" * 2000}}, 400),
    ],
    ids=str,
)
async def test_an_edit_that_cannot_be_meant_is_refused(
    world: World, body: dict[str, Any], status: int
) -> None:
    """An edit without a reason or a version, or of what is no field of a row."""
    answer = await world.api.patch(f"/api/debtors/{world.ids[0]}", json=body)
    assert answer.status_code == status, answer.text
    assert (await world.edit(10**9)).status_code == 404


@pytest.mark.parametrize(
    ("state", "columns", "words"),
    [
        ("pending", {"submit_at": NOW, "due_item": "once", "try_number": 1}, "may still be submitted"),
        ("unknown", {}, "is not known yet"),
        ("approved", {}, "was collected as it is"),
        ("refunded", {}, "refunded"),
        (
            "chargebacked",
            {"retry_on": NOW.date() + timedelta(days=3), "retry_why": "retry", "return_handled_at": NOW},
            "tried again",
        ),
        ("declined", {}, None),
        ("error", {}, None),
        ("voided", {}, None),
        ("chargebacked", {}, None),
    ],
)
async def test_a_debtor_stays_as_its_debit_was(
    world: World, state: str, columns: dict[str, Any], words: str | None
) -> None:
    """Edited under its debit, an account would be debited that nobody ordered, or an amount collected that the books do not know."""
    debtor_id = world.ids[0]
    if "retry_on" in columns:
        run = world.ask(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at,"
            " finished_at) values (%s, 'default', 'once', 'finished', '{}', '{}', 'tests', %s, %s, %s) returning id",
            world.upload_id, NOW, NOW, NOW,
        )  # fmt: skip
        columns = {**columns, "run_id": run[0][0], "due_item": "once", "try_number": 1}
    world.attempt(debtor_id, state, **columns)
    answer = await world.edit(debtor_id, changes={"amount_minor": 1250, "iban": FR})
    obstacle = (await world.api.get(f"/api/debtors/{debtor_id}")).json()["obstacle"]
    if words is None:
        assert answer.status_code == 200, answer.text
        assert obstacle is None
        return
    assert answer.status_code == 409
    assert answer.json()["code"] == "not_editable"
    assert words in answer.json()["detail"]
    assert obstacle == answer.json()["detail"]
    assert world.ask("select amount_minor from debtors where id = %s", debtor_id) == [(1000,)]


async def test_a_debtor_whose_upload_is_not_completed_waits(world: World) -> None:
    """A worker that reads the file, or a person who withdrew it, has the row."""
    world.ask("update uploads set state = 'needs_answer' where id = %s", world.upload_id)
    answer = await world.edit(world.ids[0])
    assert (answer.status_code, answer.json()["detail"]) == (
        409,
        f"Debtor {world.ids[0]} cannot be edited: its upload waits for answers. Answer the questions of its plan first.",
    )
    world.ask("update debtors set upload_id = null where id = %s", world.ids[0])
    assert "another system" in (await world.edit(world.ids[0])).json()["detail"]


async def test_of_two_edits_at_once_one_wins(world: World) -> None:
    """The second would write over what it has not seen."""
    answers = await asyncio.gather(
        *(world.edit(world.ids[0], changes={"name": f"Ada {word}"}) for word in "ABCDEF")
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409, 409]
    lost = next(answer for answer in answers if answer.status_code == 409).json()
    assert lost["code"] == "edited_before"
    assert "has version 1 by now" in lost["detail"]
    assert world.ask("select count(*) from debtor_edits") == [(1,)]


async def test_edits_of_neighbours_at_once_leave_counts_that_add_up(world: World) -> None:
    """Each of them moves a row between the counts of one upload."""
    await world.api.post("/api/blacklist", json={"name": "Dora Dorn"})
    edits = [world.edit(debtor_id, changes={"name": "Dora Dorn"}) for debtor_id in world.ids]
    assert {answer.status_code for answer in await asyncio.gather(*edits)} == {200}
    assert world.counts() == (0, 3, 0, {"blacklisted_name": 3})


async def test_a_planner_makes_no_debit_of_what_was_edited_since(
    world: World, database_url: str, until: Callable[..., Any]
) -> None:
    """It judged the debtor before the edit; the debit it makes would be of the former account and amount."""
    debtor_id = world.ids[0]
    world.ask(
        "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at, updated_at)"
        " values (%s, 'default', 'once', 'planning', '{}', '{}', 'tests', %s, %s)",
        world.upload_id, NOW, NOW,
    )  # fmt: skip
    add = load("payments/submissions")["add"]
    values = {
        "account": "default", "now": NOW, "run_id": world.ask("select max(id) from billing_runs")[0][0], "due_item": "once",
        "debtor_ids": [debtor_id], "transaction_ids": ["t-1"], "amounts_minor": [1000], "currencies": ["EUR"],
        "fingerprints": [ibans.fingerprint(DE)], "maskeds": [ibans.mask(DE)], "try_numbers": [1], "retries_of": [None],
        "canaries": [False], "is_scheduled": False,
    }  # fmt: skip

    def waiting() -> bool:
        query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        return bool(world.ask(query)[0][0])

    # An edit that has not committed yet.
    async with await psycopg.AsyncConnection.connect(database_url) as editor:
        await editor.execute("select from debtors where id = %s for update", (debtor_id,))
        await editor.execute("update debtors set amount_minor = 1250 where id = %s", (debtor_id,))
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as planner:
            planned = asyncio.create_task(_rows(planner, add, values))
            await asyncio.to_thread(until, waiting, what="the planner to wait")
            await editor.commit()
            assert await planned == []
    # The other way round: a planner that has not committed keeps the edit waiting, and the edit finds its debit.
    values["amounts_minor"] = [1250]
    async with await psycopg.AsyncConnection.connect(database_url) as planner:
        assert await _rows(planner, add, values) == [(debtor_id, 1250)]
        edited = asyncio.create_task(world.edit(debtor_id, changes={"amount_minor": 1}))
        await asyncio.to_thread(until, waiting, what="the edit to wait")
        await planner.commit()
        assert (await edited).json()["code"] == "not_editable"


async def _rows(conn: psycopg.AsyncConnection[Any], query: str, values: dict[str, Any]) -> list[Any]:
    return await (await conn.execute(query.encode(), values)).fetchall()
