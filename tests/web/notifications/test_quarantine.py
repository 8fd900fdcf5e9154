"""The quarantine over HTTP: what a wrong password refused is kept, bounded, and taken in once the password is right."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.seed import seed
from tether_stores.accounts.gateway_accounts import new_key
from tether_web.notifications.receive import BODY_MAX_BYTES, PATH
from tether_web.notifications.refused import WAITING_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from tether_sandbox.seed import Seeded

    from tests.web.conftest import Serve

KEY = new_key()
RIGHT = "right-password"
API = {"authorization": "Bearer test-key"}


@pytest.fixture
def wrong(environment: dict[str, str]) -> dict[str, str]:
    """An environment whose password the gateway does not use."""
    return environment | {"EMP_API_PASSWORD": "wrong-password", "TETHER_SECRETS_KEY": KEY}


@pytest.fixture
def mended(wrong: dict[str, str]) -> dict[str, str]:
    """The same after the password was corrected."""
    return wrong | {"EMP_API_PASSWORD": f"{RIGHT},wrong-password"}


@pytest.fixture
def debits(database_url: str) -> list[Seeded]:
    """Debits that are pending at the gateway."""
    return list(seed(database_url, attempts=4, rng=random.Random(1), now=datetime.now(UTC)))


def _body(unique_id: str, *, secret: str = RIGHT, **fields: str) -> bytes:
    return form_body({"unique_id": unique_id, "status": "approved"} | fields, secret=secret)


async def _post(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await client.post(PATH, content=body, headers={"content-type": FORM} | headers)


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(f"/api/quarantine{path}", headers=API)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _reverify(client: httpx.AsyncClient, **order: Any) -> Any:
    answer = await client.post(
        "/api/quarantine/reverify", json={"reason": "the password was wrong"} | order, headers=API
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def _query(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query.encode()).fetchall()


def _kept(url: str) -> int:
    return int(_query(url, "select count(*) from quarantined_notifications")[0][0])


async def test_what_a_wrong_password_refused_is_taken_in_once_in_the_order_of_its_receipt(
    serving: Serve, wrong: dict[str, str], mended: dict[str, str], debits: list[Seeded], database_url: str
) -> None:
    """The gateway repeats some ten times and stops: without this a day of chargebacks is lost to a typing error."""
    bodies = [
        *(_body(debit.unique_id, account_holder="Zoe Miller") for debit in reversed(debits)),
        _body(debits[0].unique_id, status="chargebacked", terminal_token="terminal-1"),
        _body("unheard-of"),
    ]
    false = _body(debits[1].unique_id, secret="a-guess", status="chargebacked")
    async with serving(wrong) as client:
        for body in (*bodies, false, bodies[0]):
            assert (await _post(client, body)).status_code == 401
    rows = _query(
        database_url,
        "select account, attempt_id, report_class, deliveries from quarantined_notifications order by received_at, id",
    )
    assert rows[0] == ("", debits[-1].id, "payment 60", 2)
    assert rows[4] == ("default", debits[0].id, "dispute 1", 1)
    assert [row[1] for row in rows[5:]] == [None, debits[1].id]
    text = str(_query(database_url, "select q::text from quarantined_notifications q"))
    assert "Zoe" not in text
    assert "signature" not in text
    async with serving(wrong) as client:
        found = await _get(client, "/preview")
        assert (found["checked"], found["genuine"], found["invalid"]) == (7, 0, 7)
        assert "correct the password first" in found["explanation"]
    async with serving(mended) as client:
        found = await _get(client, "/preview")
        assert [(part["place"], part["count"]) for part in found["by_password"]] == [("password 1", 6)]
        assert (found["genuine"], found["invalid"], _kept(database_url)) == (6, 1, 7)
        # One that the gateway repeats in between is a repeat.
        assert (await _post(client, bodies[1])).status_code == 200
        first = await _reverify(client, limit=2)
        assert (first["genuine"], first["is_finished"]) == (2, False)
        rest = await asyncio.gather(_reverify(client), _reverify(client))
        assert all(part["is_finished"] for part in rest)
        done = [first, *rest]
        assert sum(part["genuine"] for part in done) == 6
        assert (sum(part["recorded"] for part in done), sum(part["repeated"] for part in done)) == (5, 1)
        assert (await _reverify(client))["genuine"] == 0
        assert (await _post(client, bodies[5])).status_code == 200
        (use, former) = await _get(client, "/passwords")
    assert (use["place"], use["reverified"]) == ("password 1", 6)
    assert (former["place"], former["verified"]) == ("password 2", 0)
    inbox = [
        (notification_id, bytes(body))
        for notification_id, body in _query(
            database_url,
            "select notification_id, body from webhook_events where state = 'waiting' order by id",
        )
    ]
    assert [body for _, body in inbox] == [bodies[1], bodies[0], *bodies[2:]]
    assert _kept(database_url) == 1  # the false one
    audited = _query(database_url, "select actor, reason from audit where action = 'quarantine.reverified'")
    assert audited == [("tests", "the password was wrong")] * 4
    # What was verified live is counted when the process ends, too.
    assert _query(database_url, "select live, reverified from password_uses") == [(2, 6)]


async def test_the_response_is_the_same_whether_a_body_is_kept_or_not(
    serving: Serve, wrong: dict[str, str], debits: list[Seeded], database_url: str
) -> None:
    """A sender who learns which ids are ours, or when the quota is full, knows how to go on."""
    seen = set()
    known, unknown = _body(debits[0].unique_id), _body("unheard-of")
    for environ in (wrong, {name: value for name, value in wrong.items() if name != "TETHER_SECRETS_KEY"}):
        async with serving(environ) as client:
            for body in (known, known, unknown):
                answer = await _post(client, body)
                headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
                seen.add((answer.status_code, answer.text, str(sorted(headers.items()))))
    assert len(seen) == 1
    assert _kept(database_url) == 2


async def test_nobody_waits_for_the_quarantine(
    serving: Serve, wrong: dict[str, str], database_url: str, eventually: Callable[..., Any]
) -> None:
    """A flood behind a table that is locked must neither hold responses up nor grow in memory."""
    async with serving(wrong) as client:
        with psycopg.connect(database_url) as conn:
            conn.execute("lock table quarantined_notifications in access exclusive mode")
            async with asyncio.timeout(120):
                for number in range(3 * WAITING_MAX):
                    assert (await _post(client, _body(f"n{number}"))).status_code == 401
            conn.rollback()
        await eventually(lambda: _kept(database_url) > 1, what="rows behind the lock")
    # The list that was being written, and the one that filled behind it.
    assert 0 < _kept(database_url) <= 2 * WAITING_MAX


async def test_a_flood_of_strangers_leaves_room_for_known_debits(
    serving: Serve,
    wrong: dict[str, str],
    debits: list[Seeded],
    database_url: str,
    eventually: Callable[..., Any],
) -> None:
    """Rows are bounded by rules and not by luck: what names a known debit still finds room after any number of others."""
    bounds = {"TETHER_QUARANTINE_ROWS": "20", "TETHER_QUARANTINE_DAYS": "5"}
    async with serving(wrong | bounds) as client:
        for number in range(200):
            await _post(client, _body(f"n{number}"))
        await eventually(lambda: _kept(database_url) == 4, what="a day's share")
        for debit in debits:
            await _post(client, _body(debit.unique_id))
        for number in range(40):  # one debit cannot use up the quota of all
            await _post(client, _body(debits[0].unique_id, note=str(number)))
        await eventually(lambda: _kept(database_url) == 4 + 16 + 3, what="rows of known debits")
        quotas = {
            (quota["account"], quota["is_known"]): quota["rows"]
            for quota in (await _get(client, "/status"))["quotas"]
        }
    assert quotas == {("", True): 19, ("", False): 4}


@pytest.mark.parametrize("size", [BODY_MAX_BYTES, BODY_MAX_BYTES + 1, 1 << 20])
async def test_only_bodies_that_could_be_notifications_are_kept(
    serving: Serve, wrong: dict[str, str], mended: dict[str, str], database_url: str, size: int
) -> None:
    """A body of a megabyte is refused before anything looks at it."""
    body = _body("big", note="")
    body += b"&note=" + b"x" * (size - len(body) - 6)
    async with serving(wrong) as client:
        answer = await _post(client, body)
        unreadable = await _post(client, b"status=approved")
    assert answer.status_code == (401 if size == BODY_MAX_BYTES else 413)
    assert unreadable.status_code == 400
    assert _kept(database_url) == (size == BODY_MAX_BYTES)
    if size == BODY_MAX_BYTES:
        async with serving(mended) as client:
            assert (await _reverify(client))["recorded"] == 1
        assert bytes(_query(database_url, "select body from webhook_events")[0][0]) == body


async def test_a_body_opens_under_former_keys_and_in_its_own_row_only(
    serving: Serve, wrong: dict[str, str], mended: dict[str, str], database_url: str
) -> None:
    """A key that is changed must not lose what is kept, and a row must not be given the body of another."""
    async with serving(wrong) as client:
        for number in range(3):
            await _post(client, _body(f"n{number}"))
    other = new_key()
    async with serving(mended | {"TETHER_SECRETS_KEY": other}) as client:
        done = await _reverify(client)
        assert (done["genuine"], done["unopenable"]) == (0, 3)
        assert "at the end of TETHER_SECRETS_KEY" in done["explanation"]
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "update quarantined_notifications set sealed = (select sealed from quarantined_notifications"
            " where notification_id = 'n1') where notification_id = 'n0'"
        )
    async with serving(mended | {"TETHER_SECRETS_KEY": f"{other},{KEY}"}) as client:
        done = await _reverify(client)
        assert (done["genuine"], done["unopenable"]) == (2, 1)
    assert _query(database_url, "select notification_id from webhook_events order by id") == [
        ("n1",),
        ("n2",),
    ]


async def test_without_a_key_nothing_is_kept_and_the_operator_reads_which(
    serving: Serve, environment: dict[str, str], database_url: str
) -> None:
    """A body in plain text would lie in every backup."""
    async with serving(environment | {"EMP_API_PASSWORD": "wrong-password"}) as client:
        assert (await _post(client, _body("n1"))).status_code == 401
        assert (await _get(client, "/status"))["is_kept"] is False
        answer = await client.get("/api/quarantine/preview", headers=API)
        assert (answer.status_code, "TETHER_SECRETS_KEY" in answer.json()["detail"]) == (422, True)
    assert _kept(database_url) == 0


async def test_an_installation_without_any_password_keeps_what_comes(
    serving: Serve, wrong: dict[str, str], mended: dict[str, str], database_url: str
) -> None:
    """The first hour of a new installation is when a setting is forgotten."""
    async with serving(wrong | {"EMP_API_PASSWORD": ""}) as client:
        assert (await _post(client, _body("n1"), **{"x-forwarded-for": "203.0.113.9"})).status_code == 401
    # The header of a proxy on this machine, which is trusted by default.
    assert _query(database_url, "select sender from quarantined_notifications") == [("203.0.113.9",)]
    async with serving(mended) as client:
        (row,) = (await _get(client, ""))["items"]
        assert (row["notification_id"], row["attempt_id"], row["deliveries"]) == ("n1", None, 1)
        assert (await _reverify(client))["recorded"] == 1
        assert (await _get(client, ""))["items"] == []


async def test_the_console_shows_what_verifies_and_takes_it_in(
    serving: Serve, wrong: dict[str, str], mended: dict[str, str], debits: list[Seeded]
) -> None:
    """Who corrects a password at night uses the page, and must see what the button will do before it is pressed."""
    async with serving(wrong) as client:
        await _post(client, _body(debits[0].unique_id, terminal_token="terminal-1"))
    async with serving(mended) as client:
        client.headers["sec-fetch-site"] = "same-origin"
        assert (await client.post("/sign-in", data={"key": "test-key"})).status_code == 303
        page = await client.get("/quarantine")
        assert "a known debit" in page.text
        assert "password 2" in page.text
        page = await client.post("/quarantine/preview")
        assert "<strong>1</strong> of 1 verify now" in page.text
        page = await client.post("/quarantine/reverify", data={"reason": "the password was wrong"})
        assert "<strong>1</strong> verified: 1 recorded" in page.text
        assert "No refused notification is kept." in page.text
        assert RIGHT not in page.text
