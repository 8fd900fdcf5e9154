"""Signing in at an identity provider: the whole way, every way that must fail, and a provider that is down or wrong."""

from __future__ import annotations

from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import psycopg
import pyotp
import pytest
import structlog
from tether_core.errors import InvalidRequest
from tether_core.people.oidc import SENTENCES, Refusal
from tether_stores.settings import Settings
from tether_web.console.oidc import BACK
from tether_web.console.oidc import COOKIE as PENDING
from tether_web.http.sessions import COOKIE
from tether_web.people import oidc
from tether_web.people.pending_sign_in import PendingSignIn

from tests.support import identity_provider
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET
from tests.web.people.conftest import KEY, OWN
from tests.web.people.test_sign_in import GOOD, create, enrolled, sign_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from tests.support.identity_provider import IdentityProvider
    from tests.web.conftest import Serve

NAME = "ada@example.com"


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """A provider that signs in Ada."""
    with identity_provider.running() as started:
        yield started


@pytest.fixture
def provider_environment(people_environment: dict[str, str], provider: IdentityProvider) -> dict[str, str]:
    """Settings with a client of the provider."""
    return people_environment | {
        "TETHER_OIDC_ISSUER": provider.issuer,
        "TETHER_OIDC_CLIENT_ID": CLIENT_ID,
        "TETHER_OIDC_CLIENT_SECRET": CLIENT_SECRET,
    }


@pytest.fixture
async def browser(serving: Serve, provider_environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A browser; nobody is signed in."""
    async with serving(provider_environment) as client:
        client.headers.update(OWN)
        yield client


async def without_password(client: httpx.AsyncClient, name: str = NAME) -> dict[str, Any]:
    """A user whom only the provider signs in."""
    body = {"name": name, "role": "operator", "has_password": False}
    answer = await client.post("/api/users", json=body, headers=KEY)
    assert (answer.status_code, answer.json()["password"]) == (201, None)
    user: dict[str, Any] = answer.json()["user"]
    return user


async def back(browser: httpx.AsyncClient, where: str = "/payments") -> str:
    """Go to the provider, sign in there, and give the address at which the browser comes back."""
    answer = await browser.get("/sign-in/oidc", params={"next": where})
    assert answer.status_code == 302, answer.text
    async with httpx.AsyncClient(trust_env=False, timeout=60) as outside:
        answer = await outside.get(answer.headers["location"])
    assert answer.status_code == 302
    address: str = answer.headers["location"]
    assert address.startswith(f"http://tether{BACK}?")
    return address


async def claims_of(tested: oidc.Provider, client: httpx.AsyncClient) -> Mapping[str, Any]:
    """The whole way there and back, without a browser."""
    pending = PendingSignIn.new("/")
    there = (await client.get(await tested.address(pending, back="http://t/"))).headers["location"]
    code = parse_qs(urlsplit(there).query)["code"][0]
    return await tested.claims(code, pending=pending, back="http://t/", issuer=tested.issuer)


async def come_back(browser: httpx.AsyncClient, address: str) -> httpx.Response:
    """The way back, as another site sends a browser: without the cookie of a session."""
    return await browser.get(address, headers={"sec-fetch-site": "cross-site"})


def sessions(database_url: str) -> int:
    """How many sessions there are."""
    with psycopg.connect(database_url) as conn:
        row = conn.execute("select count(*) from sessions").fetchone()
    assert row is not None
    return int(row[0])


async def test_a_person_signs_in_there_and_is_bound_to_the_user_of_that_name(
    browser: httpx.AsyncClient,
    provider: IdentityProvider,
    audited: Callable[[], list[Any]],
    database_url: str,
) -> None:
    """Nobody could sign in; or a session would begin without a trace, or with a cookie that other sites send."""
    user = await without_password(browser)
    page = await browser.get("/sign-in", params={"next": "/payments?run=1"})
    assert "Sign in with 127.0.0.1" in page.text
    with structlog.testing.capture_logs() as lines:
        address = await back(browser, "/payments?run=1")
        answer = await come_back(browser, address)
    assert answer.status_code == 200, answer.text
    assert '<meta http-equiv="refresh" content="0; url=/payments?run=1">' in answer.text.replace(
        "&#x2f;", "/"
    )
    cookies = {text.partition("=")[0]: text for text in answer.headers.get_list("set-cookie")}
    assert "SameSite=strict" in cookies[COOKIE]
    assert "HttpOnly" in cookies[COOKIE]
    assert PENDING not in browser.cookies
    assert (await browser.get("/payments")).status_code == 200
    account = (await browser.get("/account")).text
    assert ("New password" in account, "Set up the second factor" in account) == (False, True)
    # Again, under another address: who she is does not change with it.
    provider.person |= {"email": "ada.king@example.com"}
    assert (await come_back(browser, await back(browser))).status_code == 200
    assert sessions(database_url) == 1  # the first one ended when she went there again
    assert [row for row in audited() if row[0] == "user"] == [
        ("user", NAME, "user.bound"),
        ("user", NAME, "session.begun"),
        ("user", NAME, "session.begun"),
    ]
    (listed,) = (await browser.get("/api/users", headers=KEY)).json()
    assert (listed["id"], listed["oidc_issuer"]) == (user["id"], provider.issuer)
    code = parse_qs(urlsplit(address).query)["code"][0]
    for word in (NAME, "ada-1", code, *provider.tokens, CLIENT_SECRET):
        assert word not in str(lines)


REFUSED: dict[Refusal, dict[str, Any]] = {
    "issuer": {"iss": "https://login.example.com"},
    "audience": {"aud": "other"},
    "nonce": {"nonce": "planted"},
    "expired": {"exp": 1},
    "no_claim": {"email": None},
    "no_user": {"email": "eve@example.com"},
    "email_not_verified": {"email_verified": False},
    "unreadable": {"sub": None},
}


async def test_a_token_that_does_not_fit_signs_nobody_in(
    browser: httpx.AsyncClient, provider: IdentityProvider, database_url: str
) -> None:
    """A token of another program, another browser or another day would open the console."""
    await without_password(browser)
    for refusal, provider.changed in REFUSED.items():
        answer = await come_back(browser, await back(browser))
        assert (answer.status_code, COOKIE in browser.cookies) == (401, False), refusal
        assert SENTENCES[refusal] in answer.text.replace("&#x27;", "'"), refusal
    assert sessions(database_url) == 0
    provider.changed = {}
    assert (await come_back(browser, await back(browser))).status_code == 200


async def test_only_the_keys_of_the_provider_sign(
    browser: httpx.AsyncClient, provider: IdentityProvider, database_url: str
) -> None:
    """A token without a signature, or signed with the secret that the client has, too, could be made by others."""
    await without_password(browser)
    for algorithm, key in (("none", 0), ("HS256", 0), ("RS256", 1)):
        provider.algorithm, provider.key = algorithm, key
        answer = await come_back(browser, await back(browser))
        assert (answer.status_code, "no valid ID token" in answer.text) == (401, True), algorithm
    assert sessions(database_url) == 0
    # An unknown key: the keys were fetched once more at most, because anybody can cause that.
    assert provider.requests.count("/keys") == 1
    assert provider.requests.count("/.well-known/openid-configuration") == 1


async def test_a_new_key_is_fetched_once_a_minute_at_most(provider: IdentityProvider) -> None:
    """Nobody signs in for an hour after the provider changed its key; or strangers make a node fetch keys without end."""
    environ = {
        "TETHER_OIDC_ISSUER": provider.issuer,
        "TETHER_OIDC_CLIENT_ID": CLIENT_ID,
        "TETHER_OIDC_CLIENT_SECRET": CLIENT_SECRET,
    }
    time_s = 1_000.0
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        tested = oidc.Provider(Settings.from_env(environ), client=client, timer=lambda: time_s)

        assert (await claims_of(tested, client))["sub"] == "ada-1"
        provider.key, provider.published = 1, 2
        for seconds, fetched in ((10.0, 1), (40.0, 1)):
            time_s += seconds
            with pytest.raises(oidc.TokenUnreadable):
                await claims_of(tested, client)
            assert provider.requests.count("/keys") == fetched
        time_s += 11.0
        assert (await claims_of(tested, client))["sub"] == "ada-1"
        assert provider.requests.count("/keys") == 2
        assert provider.requests.count("/.well-known/openid-configuration") == 1


async def test_the_way_back_is_good_once_and_in_one_browser(
    browser: httpx.AsyncClient, provider: IdentityProvider, database_url: str
) -> None:
    """Who sends a person such an address would sign her in as himself, and read what she then types; or use hers."""
    await without_password(browser)
    address = await back(browser)
    pending = browser.cookies[PENDING]
    browser.cookies.clear()
    assert "did not begin in this browser" in (await come_back(browser, address)).text
    await back(browser)  # another sign-in of the same browser: the state of the first one is worth nothing
    assert (await come_back(browser, address)).status_code == 401
    for cookie in ("", "x", "eyJzdGF0ZSI6IiJ9", "%00", "===="):
        answer = await browser.get(f"{BACK}?code=c&state=", headers={"cookie": f"{PENDING}={cookie}"})
        assert (answer.status_code, sessions(database_url)) == (401, 0), cookie
    kept = {"cookie": f"{PENDING}={pending}"}
    assert (await browser.get(f"{address}&error=access_denied", headers=kept)).status_code == 401
    other = address.replace(provider.issuer.rpartition("/")[2].replace(":", "%3A"), "other.example.com")
    assert other != address
    assert (
        "no valid ID token" in (await browser.get(other, headers=kept)).text
    )  # an answer of another provider
    assert (await browser.get(address, headers=kept)).status_code == 200
    assert sessions(database_url) == 1
    again = await browser.get(address, headers=kept)  # the cookie kept against the rules, and the code known
    assert (again.status_code, "was used before" in again.text) == (401, True)
    assert sessions(database_url) == 1


async def test_the_person_goes_on_only_within_this_site(browser: httpx.AsyncClient) -> None:
    """A link could send people elsewhere after they signed in, to a page that asks for the password again."""
    await without_password(browser)
    for where in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        '/"><script>',
        "/" + "x" * 2_000,
    ):
        answer = await come_back(browser, await back(browser, where))
        assert answer.status_code == 200
        assert "evil" not in answer.text
        assert "<script>" not in answer.text
    answer = await browser.get("/sign-in/oidc", headers={"host": "a@evil.example"})
    assert (answer.status_code, "names no host" in answer.text) == (401, True)


async def test_a_user_belongs_to_one_person_there_until_unbound(
    browser: httpx.AsyncClient, provider: IdentityProvider, audited: Callable[[], list[Any]]
) -> None:
    """An address that passes to another person would take the user with it; a person who left would still come in."""
    user = await without_password(browser)
    assert (await come_back(browser, await back(browser))).status_code == 200
    provider.person |= {"sub": "ada-2"}
    answer = await come_back(browser, await back(browser))
    assert (answer.status_code, SENTENCES["bound_to_another"] in answer.text) == (401, True)
    path = f"/api/users/{user['id']}"
    unbound = await browser.post(f"{path}/unbind", json={"reason": "another Ada"}, headers=KEY)
    assert (unbound.status_code, unbound.json()["oidc_issuer"]) == (200, None)
    assert (await come_back(browser, await back(browser))).status_code == 200
    await browser.patch(path, json={"enabled": False}, headers=KEY)
    answer = await come_back(browser, await back(browser))
    assert (answer.status_code, SENTENCES["disabled"] in answer.text) == (401, True)
    assert [row[2] for row in audited()].count("user.unbound") == 1


async def test_a_user_is_added_without_a_password_and_unbound_on_a_page(
    browser: httpx.AsyncClient, provider: IdentityProvider, audited: Callable[[], list[Any]]
) -> None:
    """An administrator with a browser lets a colleague in by the provider, and cuts the tie when the address goes to somebody else."""
    await browser.post("/sign-in", data={"key": "test-key"})
    form = {"name": NAME, "role": "operator", "no_password": "on", "reason": "joins"}
    added = await browser.post("/people/users", data=form)
    assert (added.status_code, "shown this once" in added.text) == (200, False)
    (user,) = (await browser.get("/api/users")).json()
    page = f"/people/{user['id']}"
    assert "Unbind" not in (await browser.get(page)).text
    colleague = httpx.AsyncClient(transport=browser._transport, base_url="http://tether", headers=OWN)
    assert (await come_back(colleague, await back(colleague))).status_code == 200
    assert (await colleague.get("/payments")).status_code == 200
    # An operator may look at no page of people, and unbinds nobody.
    refused = await colleague.post(f"{page}/unbind", data={"reason": "x"})
    assert (refused.status_code, (await colleague.get("/payments")).status_code) == (403, 200)

    assert provider.issuer in unescape((await browser.get(page)).text)
    unbound = await browser.post(f"{page}/unbind", data={"reason": "another Ada"})
    assert (unbound.status_code, unbound.headers["location"]) == (303, f"{page}?done=person_unbound")
    shown = (await browser.get(unbound.headers["location"])).text
    assert ("Nobody at the identity provider is bound" in shown, "Unbind" in shown) == (True, False)
    assert (await colleague.get("/payments")).status_code == 303
    assert (await browser.post("/people/77/unbind", data={"reason": "x"})).status_code == 404
    assert [row[2] for row in audited()].count("user.unbound") == 1
    await colleague.aclose()


async def test_a_person_with_a_second_factor_here_goes_on_to_the_page_that_was_wanted(
    browser: httpx.AsyncClient,
) -> None:
    """The way over another site and a code is long enough; at its end is the page, not the overview."""
    password = await create(browser, NAME)
    await sign_in(browser, NAME, password)
    await browser.post("/account/password", data={"old": password, "new": GOOD})
    _, codes = await enrolled(browser)
    await browser.post("/sign-out")
    answer = await come_back(browser, await back(browser, "/payments?run=7"))
    assert "url=/payments?run=7" in unescape(answer.text)
    step = (await browser.get("/payments?run=7")).headers["location"]
    assert step == "/second-factor?next=%2Fpayments%3Frun%3D7"
    form = {"code": codes[0], "next": "/payments?run=7"}
    assert (await browser.post("/second-factor", data=form)).headers["location"] == "/payments?run=7"


async def test_the_second_factor_is_required_unless_the_provider_checked_it(
    browser: httpx.AsyncClient, provider: IdentityProvider
) -> None:
    """A password at the provider alone would open what two factors protect; or people would type two codes."""
    password = await create(browser, NAME)
    await sign_in(browser, NAME, password)
    await browser.post("/account/password", data={"old": password, "new": GOOD})
    factor, codes = await enrolled(browser)
    await browser.post("/sign-out")
    await come_back(browser, await back(browser))
    for page in ("/payments", "/account", "/people"):
        assert (await browser.get(page)).headers["location"].partition("?")[0] == "/second-factor"
    assert (await browser.post("/second-factor", data={"code": codes[0]})).status_code == 303
    assert (await browser.get("/payments")).status_code == 200
    # A new password ends all sessions and begins one, which is still of the provider.
    await browser.post("/account/password", data={"old": GOOD, "new": f"{GOOD} 2"})
    assert (await browser.get("/payments")).status_code == 200
    provider.person |= {"amr": ["pwd", "mfa"]}
    await come_back(browser, await back(browser))
    assert (await browser.get("/payments")).status_code == 200
    assert isinstance(factor, pyotp.TOTP)


async def test_a_required_second_factor_may_be_the_providers(
    serving: Serve, provider_environment: dict[str, str], provider: IdentityProvider
) -> None:
    """Who comes from the provider with one factor would need none here."""
    async with serving(provider_environment | {"TETHER_SECOND_FACTOR": "required"}) as browser:
        browser.headers.update(OWN)
        await create(browser, NAME)  # the temporary password is of no concern to who never uses it
        await come_back(browser, await back(browser))
        assert (await browser.get("/payments")).headers["location"] == "/account?next=%2Fpayments"
        assert "Set up the second factor" in (await browser.get("/account")).text
        provider.person |= {"amr": ["mfa"]}
        await come_back(browser, await back(browser))
        assert (await browser.get("/payments")).status_code == 200


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
@pytest.mark.parametrize(
    "content",
    [(500, b""), (200, b"<html>"), (200, b"[" * 100_000), (200, b" " * 300_000), (302, b""), (200, b"{}")],
    ids=["error", "page", "deep", "long", "redirect", "empty"],
)
async def test_a_provider_that_answers_garbage_is_unavailable(
    provider: IdentityProvider, path: str, content: tuple[int, bytes]
) -> None:
    """A provider gone wrong would cause an error that nobody explains, or fill the memory of a node."""
    environ = {"TETHER_OIDC_ISSUER": provider.issuer, "TETHER_OIDC_CLIENT_ID": CLIENT_ID}
    settings = Settings.from_env(environ | {"TETHER_OIDC_CLIENT_SECRET": CLIENT_SECRET})
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        tested = oidc.Provider(settings, client=client, timer=lambda: 0.0)
        provider.broken[path] = content
        with pytest.raises(oidc.ProviderUnavailable):
            await claims_of(tested, client)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"token_endpoint": "http://login.example.com/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "https://a:b@login.example.com/"},
    ],
    ids=str,
)
async def test_a_document_of_another_issuer_or_without_https_is_not_used(
    provider: IdentityProvider, document: dict[str, str]
) -> None:
    """Secrets and codes would go over the network in the clear, or to somebody else."""
    provider.discovery = document
    settings = Settings.from_env({"TETHER_OIDC_ISSUER": provider.issuer, "TETHER_OIDC_CLIENT_ID": CLIENT_ID})
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        tested = oidc.Provider(settings, client=client, timer=lambda: 0.0)
        for _ in range(3):
            with pytest.raises(oidc.ProviderUnavailable):
                await tested.address(PendingSignIn.new("/"), back="http://t/")
    assert provider.requests == ["/.well-known/openid-configuration"]  # nobody asks again at once


async def test_without_the_provider_passwords_still_work(
    browser: httpx.AsyncClient,
    provider: IdentityProvider,
    monkeypatch: pytest.MonkeyPatch,
    serving: Serve,
    provider_environment: dict[str, str],
) -> None:
    """The console would be closed while the provider is down or slow, and say nothing."""
    password = await create(browser, NAME)
    address = await back(browser)
    provider.broken["/token"] = (503, b"")
    answer = await come_back(browser, address)
    assert (answer.status_code, "sign in with a password" in answer.text) == (503, True)
    monkeypatch.setattr(oidc, "_TIMEOUT_S", 0.2)
    provider.silent.add("/.well-known/openid-configuration")
    async with serving(provider_environment) as other:
        other.headers.update(OWN)
        answer = await other.get("/sign-in/oidc")
        assert (answer.status_code, "sign in with a password" in answer.text) == (503, True)
        assert (await sign_in(other, NAME, password)).status_code == 303


async def test_failures_on_the_way_back_are_counted_and_sign_ins_are_not(
    browser: httpx.AsyncClient, provider: IdentityProvider, database_url: str
) -> None:
    """Strangers would have a node exchange codes without end; an office behind one address would lock itself out."""
    await without_password(browser)

    def counted() -> int:
        with psycopg.connect(database_url) as conn:
            row = conn.execute("select sum(failures) from sign_in_failures").fetchone()
        return int(row[0] or 0) if row else 0

    for _ in range(3):
        assert (await come_back(browser, await back(browser))).status_code == 200
    provider.broken["/token"] = (503, b"")
    assert (await come_back(browser, await back(browser))).status_code == 503
    assert counted() == 0
    del provider.broken["/token"]
    provider.changed = {"aud": "other"}
    assert (await come_back(browser, await back(browser))).status_code == 401
    assert counted() == 1
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("update sign_in_failures set failures = 40")
    provider.changed = {}
    exchanged = provider.requests.count("/token")
    answer = await come_back(browser, await back(browser))
    assert (answer.status_code, "Wait" in answer.text) == (429, True)
    assert provider.requests.count("/token") == exchanged


async def test_a_client_that_is_refused_is_the_operators_concern(
    serving: Serve, provider_environment: dict[str, str]
) -> None:
    """A person would try again and again, where only the operator can do something."""
    async with serving(provider_environment | {"TETHER_OIDC_CLIENT_SECRET": "old"}) as browser:
        answer = await come_back(browser, await back(browser))
    assert (answer.status_code, "TETHER_OIDC_*" in answer.text) == (401, True)


async def test_without_a_provider_nothing_of_it_is_there(
    serving: Serve, people_environment: dict[str, str]
) -> None:
    """A button that leads nowhere."""
    async with serving(people_environment) as browser:
        assert "Sign in with 1" not in (await browser.get("/sign-in")).text
        for path in ("/sign-in/oidc", BACK):
            answer = await browser.get(path)
            assert (answer.status_code, "TETHER_OIDC_ISSUER" in answer.text) == (401, True)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"TETHER_OIDC_ISSUER": "http://login.example.com", "TETHER_OIDC_CLIENT_ID": "a"}, "ISSUER"),
        ({"TETHER_OIDC_ISSUER": "https://login.example.com"}, "CLIENT_ID"),
        ({"TETHER_OIDC_CLIENT_ID": "a"}, "ISSUER"),
    ],
)
def test_settings_that_do_not_belong_together_stop_the_start(environ: dict[str, str], named: str) -> None:
    """Codes would cross the network in the clear; or a half configuration would fail at the first sign-in."""
    with pytest.raises(InvalidRequest, match=f"TETHER_OIDC_{named}"):
        Settings.from_env(environ)
