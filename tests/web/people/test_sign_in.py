"""Signing in: each step in its order, each code once, and nothing that a stranger can learn or keep."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING, Any

import psycopg
import pyotp
import pytest
from tether_stores.people import passwords
from tether_web.http.sessions import COOKIE

from tests.web.people.conftest import KEY, OWN

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.web.conftest import Serve

GOOD = "correct horse battery"


async def create(client: httpx.AsyncClient, name: str, role: str = "operator", **more: Any) -> str:
    """A user; gives the temporary password."""
    body = {"name": name, "role": role, **more}
    answer = await client.post("/api/users", json=body, headers=KEY)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["password"])


async def sign_in(client: httpx.AsyncClient, name: str, password: str) -> httpx.Response:
    """Send the form."""
    return await client.post("/sign-in", data={"name": name, "password": password})


async def settled(client: httpx.AsyncClient, name: str, role: str = "operator") -> None:
    """A user with an own password, who is signed in."""
    password = await create(client, name, role)
    assert (await sign_in(client, name, password)).status_code == 303
    answer = await client.post("/account/password", data={"old": password, "new": GOOD})
    assert answer.status_code == 303, answer.text


async def enrolled(client: httpx.AsyncClient) -> tuple[pyotp.TOTP, list[str]]:
    """Set up a second factor; gives it and the backup codes."""
    page = (await client.get("/account")).text
    found = re.search(r'name="secret" value="([A-Z2-7]+)"', page)
    assert found is not None, page
    factor = pyotp.TOTP(found[1])
    answer = await client.post("/account/second-factor", data={"secret": found[1], "code": factor.now()})
    assert answer.status_code == 200, answer.text
    return factor, re.findall(r"<li><code>(\w+)</code></li>", answer.text)


def forget(database_url: str) -> None:
    """Forget all failures, so that nothing waits."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("delete from sign_in_failures")


async def test_a_person_signs_in_step_by_step(
    browser: httpx.AsyncClient, audited: Callable[[], list[Any]]
) -> None:
    """A temporary password opens one page only: the one that replaces it."""
    password = await create(browser, "ada")
    answer = await sign_in(browser, " ADA ", password)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    answer = await browser.get("/payments")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?next=%2Fpayments")
    assert (await browser.get("/api/uploads")).status_code == 401
    assert (
        await browser.post("/account/password", data={"old": password, "new": "short"})
    ).status_code == 422
    assert (await browser.post("/account/password", data={"old": "x", "new": GOOD})).status_code == 422
    answer = await browser.post("/account/password", data={"old": password, "new": GOOD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/account?done=password")
    assert (await browser.get("/payments")).status_code == 200
    me = (await browser.get("/api/me")).json()
    assert (me["name"], me["kind"], me["role"]) == ("ada", "user", "operator")
    # The app has scanned a code by now; another one after a typing error would make every further code wrong.
    scanned = pyotp.random_base32()
    wrong = await browser.post("/account/second-factor", data={"secret": scanned, "code": "00000"})
    assert (wrong.status_code, f'value="{scanned}"' in wrong.text) == (422, True)
    _, codes = await enrolled(browser)
    assert len(set(codes)) == 10
    assert (await browser.post("/sign-out")).status_code == 303
    assert (await sign_in(browser, "ada", password)).status_code == 401
    assert (await sign_in(browser, "ada", GOOD)).status_code == 303
    for page in ("/payments", "/account", "/api/uploads"):
        answer = await browser.get(page)
        assert answer.headers.get("location", "401").partition("?")[0] in {"/second-factor", "401"}, page
    assert (await browser.post("/second-factor", data={"code": "000000"})).status_code == 401
    assert (await browser.post("/second-factor", data={"code": codes[0].upper()})).status_code == 303
    assert (await browser.get("/payments")).status_code == 200
    assert [action for kind, actor, action in audited() if (kind, actor) == ("user", "ada")] == [
        "user.password_changed",
        "session.begun",
        "user.second_factor_enrolled",
        "session.ended",
        "session.begun",
    ]


async def test_a_password_alone_changes_nothing_where_a_second_factor_exists(
    browser: httpx.AsyncClient,
) -> None:
    """Who found a password could set another one, or a factor of his own, and go on without a code."""
    await settled(browser, "ada")
    _, codes = await enrolled(browser)
    await browser.post("/sign-out")
    await sign_in(browser, "ada", GOOD)
    own = pyotp.random_base32()
    for path, form in (
        ("/account/password", {"old": GOOD, "new": "another password 1"}),
        ("/account/second-factor", {"secret": own, "code": pyotp.TOTP(own).now()}),
        ("/account/second-factor/remove", {"code": codes[0]}),
        ("/account/backup-codes", {"code": codes[0]}),
        ("/payments/1/refund", {}),
        ("/people/users", {"name": "eve", "role": "admin"}),
    ):
        answer = await browser.post(path, data=form)
        assert answer.status_code in {303, 422}, path
        assert answer.headers.get("location", "/second-factor") == "/second-factor", path
    assert (await browser.post("/second-factor", data={"code": codes[0]})).status_code == 303


async def test_each_code_is_accepted_once(browser: httpx.AsyncClient, database_url: str) -> None:
    """Somebody who looks over a shoulder would sign in with the code of the moment, or with a used backup code."""
    await settled(browser, "ada")
    factor, codes = await enrolled(browser)
    await browser.post("/sign-out")

    async def half() -> str:
        """A session that waits for its code."""
        forget(database_url)
        browser.cookies.clear()
        assert (await sign_in(browser, "ada", GOOD)).status_code == 303
        return browser.cookies[COOKIE]

    async def tried(token: str, given: str) -> int:
        browser.cookies.clear()
        answer = await browser.post(
            "/second-factor", data={"code": given}, headers={"cookie": f"{COOKIE}={token}"}
        )
        assert answer.headers.get("location", "/") == "/"
        return answer.status_code

    for code in (factor.at(datetime.now(UTC) + timedelta(seconds=30)), codes[3]):
        tokens = [await half() for _ in range(3)]
        forget(database_url)
        assert sorted(await asyncio.gather(*(tried(token, code) for token in tokens))) == [303, 401, 401]
        assert await tried(await half(), code) == 401


async def test_a_planted_or_seen_token_is_worth_nothing_later(browser: httpx.AsyncClient) -> None:
    """Session fixation: a token that an attacker knows before a step would be signed in after it."""
    password = await create(browser, "ada")
    browser.cookies.set(COOKIE, "planted")
    await sign_in(browser, "ada", password)
    tokens = {"planted", *(cookie.value for cookie in browser.cookies.jar if cookie.name == COOKIE)}
    browser.cookies.clear()
    await sign_in(browser, "ada", password)
    first = browser.cookies[COOKIE]
    await browser.post("/account/password", data={"old": password, "new": GOOD})
    second = browser.cookies[COOKIE]
    await enrolled(browser)
    third = browser.cookies[COOKIE]
    assert len({first, second, third}) == 3
    assert (await browser.get("/payments")).status_code == 200
    for old in (*tokens, first, second):
        answer = await browser.get("/payments", headers={"cookie": f"{COOKIE}={old}"})
        browser.cookies.clear()
        assert answer.status_code == 303, old
        browser.cookies.set(COOKIE, third)


async def test_an_unknown_user_costs_the_same_and_reads_the_same(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time or the words of an answer would tell who works here."""
    await create(browser, "ada")
    hashes: list[str] = []
    fits = passwords._fits

    def counted(password_hash: str, password: str) -> bool:
        hashes.append(password_hash.rpartition("$")[0].rpartition("$")[0])
        return fits(password_hash, password)

    monkeypatch.setattr(passwords, "_fits", counted)
    known = await sign_in(browser, "ada", "wrong")
    unknown = await sign_in(browser, "nobody", "wrong")
    odd = await sign_in(browser, "a\x00b", "wrong")
    assert (known.status_code, unknown.status_code, odd.status_code) == (401, 401, 401)
    assert known.text == unknown.text
    assert len(hashes) == 3
    assert len(set(hashes)) == 1  # the same algorithm with the same cost


async def test_tries_are_slowed_down_for_a_user_and_for_an_address(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """Passwords could be guessed at the speed of the machine; many at once would all be tried before the first is counted."""
    password = await create(browser, "ada")
    answers = await asyncio.gather(*(sign_in(browser, "ada", f"guess {number}") for number in range(8)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {401, 429}
    other, elsewhere = {"x-forwarded-for": "203.0.113.9"}, {"x-forwarded-for": "198.51.100.7"}
    with psycopg.connect(database_url, autocommit=True) as conn:
        counted = conn.execute("select failures from sign_in_failures where counter = 'user_and_address'")
        assert counted.fetchone() == (statuses.count(401),)  # none was tried and not counted
        conn.execute("update sign_in_failures set failures = 15 where counter = 'user_and_address'")
        refused = await sign_in(browser, "ada", password)
        assert (refused.status_code, "Wait" in refused.text) == (429, True)
        # From another address the person still gets in.
        form = {"name": "ada", "password": password}
        assert (await browser.post("/sign-in", data=form, headers=other)).status_code == 303
        await browser.post("/sign-in", data={"name": "bea", "password": "x"}, headers=elsewhere)
        conn.execute("update sign_in_failures set failures = 40 where counter = 'address'")
        form = {"name": "cleo", "password": "x"}
        assert (await browser.post("/sign-in", data=form, headers=elsewhere)).status_code == 429
        conn.execute("update sign_in_failures set failed_at = failed_at - interval '2 days'")
    assert (await sign_in(browser, "ada", password)).status_code == 303


async def test_a_change_of_role_counts_at_once_and_ends_the_sessions(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """An operator who was made a viewer, or left, would go on ordering refunds with the open page."""
    await settled(browser, "ada", "admin")
    await create(browser, "bea", "admin")
    assert (await browser.get("/api/users")).status_code == 200
    with psycopg.connect(database_url, autocommit=True) as conn:  # past the API, so that the session stays
        conn.execute("update users set role = 'viewer' where name = 'ada'")
    assert (await browser.get("/api/users")).status_code == 403
    assert (await browser.post("/people/users", data={"name": "eve", "role": "admin"})).status_code == 403
    for body in ({"role": "operator"}, {"enabled": False}):
        await sign_in(browser, "ada", GOOD)
        assert (await browser.get("/api/me")).status_code == 200
        assert (await browser.patch("/api/users/1", json=body, headers=KEY)).status_code == 200
        browser.headers.pop("authorization", None)
        assert (await browser.get("/api/me")).status_code == 401
    assert (await sign_in(browser, "ada", GOOD)).status_code == 401


async def test_the_last_administrator_stays_one(browser: httpx.AsyncClient) -> None:
    """Two administrators who remove each other at once would leave nobody who can let anybody in."""
    await create(browser, "ada", "admin")
    await create(browser, "bea", "admin")
    answers = await asyncio.gather(
        *(browser.patch(f"/api/users/{number}", json={"role": "viewer"}, headers=KEY) for number in (1, 2))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_second_factor_can_be_required(serving: Serve, people_environment: dict[str, str]) -> None:
    """Without it, the one person who skipped it is the one whose password is found."""
    async with serving(people_environment | {"TETHER_SECOND_FACTOR": "required"}) as browser:
        browser.headers.update(OWN)
        await settled(browser, "ada")
        answer = await browser.get("/payments?run=7")
        assert answer.headers["location"] == "/account?next=%2Fpayments%3Frun%3D7"
        page = (await browser.get(answer.headers["location"])).text
        secret = re.search(r'name="secret" value="([A-Z2-7]+)"', page)
        assert secret is not None
        form = {"secret": secret[1], "code": "000000", "next": "/payments?run=7"}
        wrong = await browser.post("/account/second-factor", data=form)
        assert 'name="next" value="/payments?run=7"' in unescape(wrong.text)
        assert (await browser.get("/api/uploads")).status_code == 401
        form["code"] = pyotp.TOTP(secret[1]).now()
        codes = unescape((await browser.post("/account/second-factor", data=form)).text)
        assert 'href="/payments?run=7"' in codes
        assert (await browser.get("/payments")).status_code == 200


async def test_a_sign_in_ends_at_the_page_that_was_wanted(
    browser: httpx.AsyncClient, database_url: str
) -> None:
    """Who follows a link in a message at three in the morning lands on that payment, whatever the steps in between are."""
    wanted = "/payments?status=unknown&account=default"
    quoted = "%2Fpayments%3Fstatus%3Dunknown%26account%3Ddefault"
    password = await create(browser, "ada")
    answer = await browser.get(f"{wanted}&done=paused")  # the notice of an earlier action is not said again
    assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?next={quoted}")
    page = unescape((await browser.get(answer.headers["location"])).text)
    assert page.count(f'name="next" value="{wanted}"') == 2
    form = {"name": "ada", "password": password, "next": wanted}
    answer = await browser.post("/sign-in", data=form)
    assert answer.headers["location"] == wanted
    answer = await browser.get(wanted)
    assert answer.headers["location"] == f"/account?next={quoted}"
    form = {"old": password, "new": GOOD, "next": wanted}
    assert (await browser.post("/account/password", data=form)).headers["location"] == wanted
    assert (await browser.get(wanted)).status_code == 200
    _, codes = await enrolled(browser)
    await browser.post("/sign-out")

    assert (await browser.get("/second-factor?next=/runs")).headers["location"] == "/sign-in?next=%2Fruns"
    await browser.post("/sign-in", data={"name": "ada", "password": GOOD, "next": wanted})
    answer = await browser.get(wanted)
    assert answer.headers["location"] == f"/second-factor?next={quoted}"
    page = unescape((await browser.get(answer.headers["location"])).text)
    assert f'name="next" value="{wanted}"' in page
    wrong = await browser.post("/second-factor", data={"code": "000000", "next": wanted})
    assert f'name="next" value="{wanted}"' in unescape(wrong.text)
    forget(database_url)
    right = await browser.post("/second-factor", data={"code": codes[0], "next": wanted})
    assert (right.status_code, right.headers["location"]) == (303, wanted)
    # A form is not sent again after a sign-in: it would be a page that does not exist, or an order.
    await browser.post("/sign-out")
    assert (await browser.post("/payments/1/refund")).headers["location"] == "/sign-in"


@pytest.mark.parametrize(
    "where",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "evil.example",
        "/" + "x" * 1_000,
        "/a\r\nset-cookie: x=y",
    ],
)
async def test_no_step_of_a_sign_in_leads_elsewhere(
    browser: httpx.AsyncClient, database_url: str, where: str
) -> None:
    """A link of this console that ends at a copy of it would collect the next code."""
    password = await create(browser, "ada")
    await sign_in(browser, "ada", password)
    form = {"old": password, "new": GOOD, "next": where}
    answer = await browser.post("/account/password", data=form)
    assert answer.headers["location"] == "/account?done=password"
    page = (await browser.get("/account", params={"next": where})).text
    assert 'name="next" value="/"' in unescape(page)
    secret = re.search(r'name="secret" value="([A-Z2-7]+)"', page)
    assert secret is not None
    factor = {"secret": secret[1], "code": pyotp.TOTP(secret[1]).now(), "next": where}
    page = unescape((await browser.post("/account/second-factor", data=factor)).text)
    assert 'href="/" role="button"' in page
    codes = re.findall(r"<li><code>(\w+)</code></li>", page)
    await browser.post("/sign-out")
    forget(database_url)
    await sign_in(browser, "ada", GOOD)
    page = (await browser.get("/second-factor", params={"next": where})).text
    assert 'name="next" value="/"' in unescape(page)
    answer = await browser.post("/second-factor", data={"code": codes[0], "next": where})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_the_database_alone_makes_no_code(browser: httpx.AsyncClient, database_url: str) -> None:
    """A reader of a backup would have every second factor, password, key and session."""
    await settled(browser, "ada")
    factor, codes = await enrolled(browser)
    secret = (await browser.post("/api/api-keys", json={"name": "ci", "role": "viewer"}, headers=KEY)).json()[
        "secret"
    ]
    with psycopg.connect(database_url) as conn:
        text = "".join(
            str(conn.execute(f"select * from {table}".encode()).fetchall())
            for table in ("users", "backup_codes", "sessions", "api_keys", "audit", "sign_in_failures")
        )
    for word in (factor.secret, GOOD, codes[0], secret, browser.cookies[COOKIE]):
        assert word not in text
