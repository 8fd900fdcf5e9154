"""The webhook route: the response for each kind of request, and the rows in the inbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import httpx
import psycopg
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from tether_core.emp.notification import FORM, JSON
from tether_core.testing import form_body, json_body, notifications
from tether_web.notifications.receive import BODY_MAX_BYTES, PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Protocol

    class Serve(Protocol):
        def __call__(self, environ: Mapping[str, str]) -> AbstractAsyncContextManager[httpx.AsyncClient]: ...


T = TypeVar("T")
PASSWORD = "s3cret-password"
ID = "44177a21403427eb96664a6d7e5d5d48"


def _notification(unique_id: str = ID, *, secret: str = PASSWORD, **fields: str) -> bytes:
    """A signed form as the gateway posts it."""
    return form_body({"unique_id": unique_id, "status": "approved"} | fields, secret=secret)


async def _post(client: httpx.AsyncClient, body: bytes, content_type: str = FORM) -> httpx.Response:
    return await client.post(PATH, content=body, headers={"content-type": content_type})


def _query(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query).fetchall()


def _inbox(url: str) -> list[tuple[str, str, str]]:
    """The rows of the inbox in order of arrival: id, status, state."""
    return _query(url, "select notification_id, status, state from webhook_events order by id")


@contextlib.contextmanager
def _inserts_held_up(url: str) -> Iterator[None]:
    """Let every insert into the inbox wait for the end of the block."""
    with psycopg.connect(url) as conn:
        conn.execute("lock table webhook_events in share mode")
        yield


# --- what genuine notifications are answered ---


async def test_a_form_is_answered_with_its_echo_every_time(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """The gateway repeats until the echo names its id.

    Every delivery must be answered alike, and stand as one row.
    """
    for _ in range(2):
        answer = await _post(client, _notification())
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/xml"
        echo = ET.fromstring(answer.content)
        assert (echo.tag, [(child.tag, child.text) for child in echo]) == (
            "notification_echo",
            [("unique_id", ID)],
        )
    assert _inbox(database_url) == [(ID, "approved", "waiting")]


async def test_json_answers_whether_it_was_known(client: httpx.AsyncClient, database_url: str) -> None:
    """Senders of JSON were promised these bodies by the old system. They count their repeats by `message`."""
    body = json_body({"unique_id": ID, "status": "approved"}, secret=PASSWORD)
    first, second = await _post(client, body, JSON), await _post(client, body, JSON)
    assert (first.status_code, first.json()) == (200, {"status": "ok"})
    assert (second.status_code, second.json()) == (200, {"status": "ok", "message": "Already processed"})
    assert first.headers["content-type"] == "application/json"
    assert len(_inbox(database_url)) == 1


async def test_one_notification_by_both_transports_is_one(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A change of transport is no news.

    A payment must not be applied twice because its repeat came as JSON.
    """
    await _post(client, _notification())
    again = await _post(client, json_body({"unique_id": ID, "status": "approved"}, secret=PASSWORD), JSON)
    assert again.json()["message"] == "Already processed"
    assert len(_inbox(database_url)) == 1


_OTHER_KINDS: list[tuple[dict[str, str], str]] = [
    ({"wpf_unique_id": ID, "wpf_status": "approved", "notification_type": "wpf"}, "wpf_unique_id"),
    ({"reference_id": ID, "notification_type": "kyc_service_execution"}, "reference_id"),
    ({"payment_transaction_unique_id": ID, "notification_type": "apm_external_event"}, "unique_id"),
]


async def test_other_kinds_are_echoed_by_their_own_id(client: httpx.AsyncClient) -> None:
    """A hosted page or an identity check waits for an echo of its own id.

    Another child would not end its repeats.
    """
    for fields, child in _OTHER_KINDS:
        answer = await _post(client, form_body(fields, secret=PASSWORD))
        assert answer.status_code == 200
        assert [(item.tag, item.text) for item in ET.fromstring(answer.content)] == [(child, ID)]


async def test_the_bytes_are_kept_as_they_came(client: httpx.AsyncClient, database_url: str) -> None:
    """A person who looks at a parked notification must see what was sent, broken encoding and all."""
    body = _notification() + b"&account_holder=M%FCller+\xfc&odd=%00&=&odd=2"
    assert (await _post(client, body)).status_code == 200
    assert _query(
        database_url, "select body, content_type, source, account, failures from webhook_events"
    ) == [(body, FORM, "webhook", "default", 0)]


async def test_an_id_that_means_something_in_xml_is_escaped(client: httpx.AsyncClient) -> None:
    """An id with markup must come back as that id, not as elements of our answer."""
    answer = await _post(client, _notification("<a>&amp;'\"</a>"))
    assert ET.fromstring(answer.content).findtext("unique_id") == "<a>&amp;'\"</a>"


async def test_every_active_password_and_hash_is_accepted(
    serving: Serve, environment: dict[str, str]
) -> None:
    """While a password is changed the gateway signs with either.

    Refusing one would lose a day's notifications.
    """
    async with serving(environment | {"EMP_API_PASSWORD": "old,new"}) as client:
        for secret in ("old", "new"):
            for digits in (40, 64, 128):
                body = form_body({"unique_id": ID}, secret=secret, digits=digits)
                assert (await _post(client, body)).status_code == 200, (secret, digits)


# --- the same, news, and contradictions ---


async def test_another_status_is_another_event(client: httpx.AsyncClient, database_url: str) -> None:
    """All statuses of a payment share an id and a signature.

    With the id alone as the key, a chargeback would be a repeat.
    """
    for fields in ({}, {"status": "chargebacked", "event": "chargeback"}, {"status": "chargebacked"}):
        assert (await _post(client, _notification(**fields))).status_code == 200
    assert [status for _, status, _ in _inbox(database_url)] == ["approved", "chargebacked", "chargebacked"]


async def test_other_content_under_a_known_key_is_kept_and_acknowledged(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A contradiction is for a person.

    Refused, it would be repeated for hours; dropped, nobody could look; and one row of it is enough however
    often it comes.
    """
    await _post(client, _notification(amount="100"))
    for _ in range(3):
        answer = await _post(client, _notification(amount="999"))
        assert answer.status_code == 200
        assert ET.fromstring(answer.content).findtext("unique_id") == ID
    other = json_body({"unique_id": ID, "status": "approved", "amount": "7"}, secret=PASSWORD)
    assert (await _post(client, other, JSON)).json() == {"status": "ok"}
    assert (await _post(client, _notification(amount="100"))).status_code == 200
    assert _inbox(database_url) == [
        (ID, "approved", "waiting"),
        (ID, "approved", "conflicting"),
        (ID, "approved", "conflicting"),
    ]
    assert _query(
        database_url, "select distinct conflicts_with from webhook_events where state = 'conflicting'"
    ) == [(1,)]


# --- who is refused ---


def _traces(url: str, redis_url: str) -> tuple[int, int]:
    """Rows of the inbox, and keys in Redis."""
    with redis.Redis.from_url(redis_url) as cache:
        return len(_inbox(url)), int(cache.dbsize())


_INVALID_SIGNATURE = {
    "wrong secret": _notification(secret="wrong"),
    "no secret": _notification(secret=""),
    "another id": _notification() + b"&unique_id=another",
    "zeros": b"unique_id=" + ID.encode() + b"&signature=" + b"0" * 40,
    "of no hash's length": b"unique_id=" + ID.encode() + b"&signature=abc",
    "no hex": b"unique_id=" + ID.encode() + b"&signature=%C3%A9%F0%9F%92%B6",
}


async def test_invalid_signature_notifications_leave_no_trace(
    client: httpx.AsyncClient, database_url: str, redis_url: str
) -> None:
    """Anybody can reach this route.

    What no secret signed must neither fill the inbox nor stand in the way of what is genuine, and the answer
    must say nothing about why.
    """
    for name, body in _INVALID_SIGNATURE.items():
        answer = await _post(client, body)
        assert (answer.status_code, answer.content) == (401, b'{"error":"Invalid signature"}'), name
    assert _traces(database_url, redis_url) == (0, 0)


async def test_without_a_signature_nothing_is_taken(
    client: httpx.AsyncClient, database_url: str, redis_url: str
) -> None:
    """Leaving the signature away must not be a way around it."""
    for body in (b"unique_id=" + ID.encode(), b"unique_id=" + ID.encode() + b"&signature=+&status=approved"):
        assert (await _post(client, body)).status_code in {400, 401}
    assert _traces(database_url, redis_url) == (0, 0)


async def test_without_a_password_everything_is_refused(
    serving: Serve, environment: dict[str, str], database_url: str, redis_url: str
) -> None:
    """A node whose secret was forgotten takes nothing in. With an empty secret every id would sign itself."""
    async with serving(environment | {"EMP_API_PASSWORD": " , "}) as client:
        for secret in ("", PASSWORD):
            answer = await _post(client, _notification(secret=secret))
            assert (answer.status_code, answer.json()) == (401, {"error": "Invalid signature"})
    assert _traces(database_url, redis_url) == (0, 0)


async def test_a_invalid_signature_delivery_does_not_hinder_the_real_one(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """In the previous system an attacker who guessed an id could make the real chargeback look like a repeat."""
    invalid_signature = await _post(
        client, _notification(status="chargebacked", event="chargeback", secret="wrong")
    )
    real = await _post(client, _notification(status="chargebacked", event="chargeback"))
    assert (invalid_signature.status_code, real.status_code) == (401, 200)
    assert _inbox(database_url) == [(ID, "chargebacked", "waiting")]


async def test_other_media_types_are_415(client: httpx.AsyncClient) -> None:
    """A sender that is set up wrongly learns so from the status, before anything is read into its words."""
    for content_type in ("", "text/plain", "application/xml", "multipart/form-data; boundary=x", "form"):
        answer = await _post(client, _notification(), content_type)
        assert answer.status_code == 415, content_type
        assert FORM in answer.json()["error"]


async def test_media_types_are_read_as_http_says(client: httpx.AsyncClient) -> None:
    """Parameters and capitals of a Content-Type mean nothing; a charset must not cost a notification."""
    answer = await _post(client, _notification(), "Application/X-WWW-Form-URLencoded; charset=UTF-8")
    assert answer.status_code == 200


_UNREADABLE = [
    (b"", FORM),
    (b"", JSON),
    (b"[]", JSON),
    (b"\xff{", JSON),
    (b"[" * 60_000, JSON),
    (b'{"unique_id":' * 2_000, JSON),
    (b"status=approved&signature=" + b"0" * 40, FORM),
    (b"unique_id=%0A&signature=" + b"0" * 40, FORM),
    (b"&".join(b"f%d=1" % n for n in range(501)), FORM),
]


async def test_unreadable_bodies_are_400(client: httpx.AsyncClient, database_url: str) -> None:
    """What cannot be read is the sender's to correct.

    It must not look like an internal error, nor be recorded.
    """
    for body, content_type in _UNREADABLE:
        answer = await _post(client, body, content_type)
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), body[:40]
    assert _inbox(database_url) == []


async def test_other_methods_are_405_with_the_right_one(client: httpx.AsyncClient) -> None:
    """HTTP promises an Allow header beside 405; probes and browsers rely on it."""
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        answer = await client.request(method, PATH)
        assert (answer.status_code, answer.headers.get("allow")) == (405, "POST"), method


# --- sizes ---


async def test_the_largest_body_is_taken_and_one_byte_more_is_413(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """Without a size limit an attacker could fill the memory of every node."""
    largest = _notification() + b"&pad="
    largest += b"x" * (BODY_MAX_BYTES - len(largest))
    assert (await _post(client, largest)).status_code == 200
    answer = await _post(client, largest + b"x")
    assert (answer.status_code, list(answer.json())) == (413, ["error"])
    assert len(_inbox(database_url)) == 1


async def test_an_endless_body_is_cut_off(client: httpx.AsyncClient) -> None:
    """What is a little too large is read to its end, so that its sender reads why; what has no end is not."""
    sent = 0

    async def body(size_bytes: int) -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(0, size_bytes, 4096):
            sent += 4096
            yield b"x" * 4096

    for size_bytes, read in ((BODY_MAX_BYTES + 4096, BODY_MAX_BYTES + 4096), (1 << 30, 1 << 20)):
        sent = 0
        answer = await client.post(PATH, content=body(size_bytes), headers={"content-type": FORM})
        assert answer.status_code == 413
        assert read <= sent <= read + 2 * 4096


async def test_a_body_that_is_declared_absurdly_large_is_not_read(client: httpx.AsyncClient) -> None:
    """Content-Length is enough; the body need not be read."""
    headers = [(b"content-type", FORM.encode()), (b"content-length", b"9" * 12)]
    sent = await _call(client, headers=headers, messages=[])
    assert sent[0]["status"] == 413


# --- raw ASGI ---


async def _call(
    client: httpx.AsyncClient, *, headers: Sequence[tuple[bytes, bytes]], messages: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Post to the route as a server would; gives what was sent back."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    waiting = list(messages)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    await transport.app(scope, receive, send)
    return sent


async def test_a_sender_that_leaves_in_the_middle_records_nothing(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A truncated notification must not be stored; the gateway's retry must count as new."""
    half = {"type": "http.request", "body": _notification(), "more_body": True}
    sent = await _call(client, headers=[(b"content-type", FORM.encode())], messages=[half])
    assert sent[0]["status"] == 400
    assert _inbox(database_url) == []


async def test_messages_may_leave_their_defaults_out(client: httpx.AsyncClient, database_url: str) -> None:
    """ASGI lets a server leave out `body` and `more_body` where they are empty.

    Another server must not break us.
    """
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": _notification()},
    ]
    sent = await _call(client, headers=[(b"content-type", FORM.encode())], messages=messages)
    assert sent[0]["status"] == 200
    assert len(_inbox(database_url)) == 1


_lengths = st.integers(0, 10**6).map(lambda n: b"%d" % n) | st.sampled_from(
    [b"", b"-1", b"1e3", b"0x10", b"\xb2", b"9" * 5_000, b"12, 12"]
)
_types = st.sampled_from(
    [FORM, JSON, FORM + "; charset=utf-7", "text/xml", "", ";;", "application/json;"]
).map(str.encode)
_headers = st.lists(
    st.tuples(st.just(b"content-type"), _types | st.binary(max_size=30))
    | st.tuples(st.just(b"content-length"), _lengths)
    | st.tuples(st.sampled_from([b"x-request-id", b"cookie", b"host", b"x"]), st.binary(max_size=30)),
    max_size=5,
)
_bodies = (
    st.binary(max_size=300)
    | st.builds(
        lambda fields: "&".join(f"{name}={value}" for name, value in fields).encode("utf-8", "surrogatepass"),
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["unique_id", "wpf_unique_id", "signature", "status", "event", "notification_type"]
                )
                | st.text(max_size=5),
                st.text(max_size=50) | st.sampled_from([ID, "0" * 40, "%00", "%ED%A0%80", "wpf", "%"]),
            ),
            max_size=8,
        ),
    )
    | st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["unique_id", "signature", "status"]) | st.text(max_size=5), inner, max_size=4
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
)


def _drawn(strategy: st.SearchStrategy[T], *, examples: int) -> list[T]:
    """Draw first, send afterwards: what runs beside Hypothesis would pass for chance inside a strategy."""
    found: list[T] = []

    @settings(max_examples=examples, deadline=None, database=None)
    @given(strategy)
    def collect(item: T) -> None:
        found.append(item)

    collect()
    return found


async def test_no_bytes_and_no_headers_make_a_defect(client: httpx.AsyncClient, database_url: str) -> None:
    """A 500 alerts a person and makes the gateway retry ten times.

    Nothing anybody can send may cause one, nor get into the inbox without a signature.
    """
    cuts = st.lists(st.integers(0, 300), max_size=3)
    for headers, body, at in _drawn(st.tuples(_headers, _bodies, cuts), examples=300):
        edges = [0, *sorted(min(cut, len(body)) for cut in at), len(body)]
        parts = [body[start:end] for start, end in pairwise(edges)]
        messages = [
            {"type": "http.request", "body": part, "more_body": n < len(parts) - 1}
            for n, part in enumerate(parts)
        ]
        sent = await _call(client, headers=headers, messages=messages)
        assert sent[0]["status"] in {400, 401, 413, 415}, (headers, body)
        assert isinstance(json.loads(sent[1]["body"]), dict)
    assert _inbox(database_url) == []


async def test_whatever_is_signed_is_taken(client: httpx.AsyncClient, database_url: str) -> None:
    """The gateway adds fields, statuses and kinds with every release.

    Any signed content must be stored, even if it is not understood yet.
    """
    seen = set()
    for item, as_json in _drawn(st.tuples(notifications(secret=PASSWORD), st.booleans()), examples=150):
        body = (json_body if as_json else form_body)(item.fields, secret=PASSWORD)
        answer = await _post(client, body, JSON if as_json else FORM)
        assert answer.status_code == 200, item.fields
        seen.add((item.kind, item.id, item.status, item.event, item.chargeback_id))
    waiting = _query(database_url, "select count(*) from webhook_events where state = 'waiting'")
    assert waiting == [(len(seen),)]


# --- when the store does not keep up ---


async def test_no_commit_in_time_is_503_and_the_row_may_land_later(
    serving: Serve, environment: dict[str, str], database_url: str, eventually: Callable[..., Any]
) -> None:
    """A 200 without a commit would be a promise nobody can keep.

    The sender gets Retry-After, and when it repeats, the row that landed in the meantime makes it a
    repeat and no second applying.
    """
    async with serving(environment | {"TETHER_COMMIT_DEADLINE": "0.2"}) as client:
        with _inserts_held_up(database_url):
            answer = await _post(client, _notification())
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"].startswith("Postgres is not reachable (no commit in time)")
        await eventually(lambda: _inbox(database_url), what="the row that came too late")

        async def told_again() -> dict[str, Any] | None:
            again = await _post(
                client, json_body({"unique_id": ID, "status": "approved"}, secret=PASSWORD), JSON
            )
            return again.json() if again.status_code == 200 else None  # the next commit may be late as well

        assert (await eventually(told_again, what="a 200"))["message"] == "Already processed"
    assert len(_inbox(database_url)) == 1


async def test_too_many_waiting_are_rejected_at_once(
    serving: Serve, environment: dict[str, str], database_url: str, eventually: Callable[..., Any]
) -> None:
    """A node whose store is slow must not collect until its memory is gone.

    Beyond its bound it answers 503 without waiting, and takes new ones as soon as the store answers.
    """
    settings_of_it = environment | {"TETHER_WAITING_MAX": "3", "TETHER_COMMIT_DEADLINE": "20"}
    async with serving(settings_of_it) as client:
        with _inserts_held_up(database_url):
            first = asyncio.create_task(_post(client, _notification("first")))
            await eventually(lambda: _blocked(database_url), what="the first commit to be held up")
            more = [asyncio.create_task(_post(client, _notification(f"more-{n}"))) for n in range(8)]
            done, waiting = await asyncio.wait(more, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < 5:
                newly, waiting = await asyncio.wait(waiting, timeout=60, return_when=asyncio.FIRST_COMPLETED)
                assert newly, "nobody was rejected"
                done |= newly
            assert {task.result().status_code for task in done} == {503}
            assert {task.result().headers["retry-after"] for task in done} == {"2"}
        answers = [await first, *[await task for task in waiting]]
        assert [answer.status_code for answer in answers] == [200] * 4
    assert len(_inbox(database_url)) == 4


def _blocked(url: str) -> bool:
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    return bool(_query(url, query)[0][0])


@pytest.mark.parametrize("trouble", ["not migrated", "read only"])
async def test_a_store_that_cannot_write_is_503(
    serving: Serve,
    environment: dict[str, str],
    database_url: str,
    trouble: str,
) -> None:
    """A standby after a failover refuses to write, and a new database has no tables yet.

    Both pass without the sender's doing, so it gets 503 with Retry-After and no internal error.
    """
    name = f"alter database {urlsplit(database_url).path.removeprefix('/')}"
    do, undo = {
        "not migrated": (
            "alter table webhook_events rename to hidden",
            "alter table hidden rename to webhook_events",
        ),
        "read only": (
            f"{name} set default_transaction_read_only = on",
            f"{name} reset default_transaction_read_only",
        ),
    }[trouble]
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(do)
        async with serving(environment) as client:
            answer = await _post(client, _notification())
            assert (answer.status_code, list(answer.json())) == (503, ["error"])
            assert "retry-after" in answer.headers
            conn.execute("set default_transaction_read_only = off")
            conn.execute(undo)
        async with serving(environment) as client:
            assert (await _post(client, _notification())).status_code == 200
