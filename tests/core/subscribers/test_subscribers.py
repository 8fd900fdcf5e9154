"""Rules of subscribers: who gets what, when they are disabled, where events may go, and what identifies an event."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import events
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.events import NAMES, AttemptStatusChanged, ClockStepped, DebtorEdited, Event
from tether_core.retry import DELIVERY_S
from tether_core.subscribers import cloud_events
from tether_core.subscribers.addresses import is_allowed, networks, require_url
from tether_core.subscribers.delivery import RETRY_AFTER_MAX_S, Response, decide
from tether_core.subscribers.delivery import step as delivery_step
from tether_core.subscribers.subscriber import (
    DISABLE_AFTER,
    EventFilter,
    is_recovery,
    must_disable,
    require_types,
    step,
    wants,
)
from tether_core.subscribers.topics import require_topic

from tests.support.clock import NOON

if TYPE_CHECKING:
    from collections.abc import Callable

PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2001:0:0:0:0:0:80ff:fffe",
    "fc00::1",
    "fe80::1%eth0",
    "ff02::1",
    "2001:db8::1",
    "localhost",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    """Each of these reaches a service that only Tether's machines can reach, on some network."""
    assert not is_allowed(address, allowed=())


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_is_allowed_is_public_or_named_by_the_operator(address: IPv4Address | IPv6Address) -> None:
    """A network that the operator allowed must be reachable, and nothing else that is not public."""
    if is_allowed(str(address), allowed=()):
        # Of an address of 6to4 or NAT64 the one within counts; from Python 3.13 on it is not global itself.
        within: IPv4Address | None = None
        if isinstance(address, IPv6Address):
            is_translated = address in ip_network("64:ff9b:1::/48")
            within = IPv4Address(int(address) & 0xFFFF_FFFF) if is_translated else address.sixtofour
        assert (within or address).is_global
        assert not is_allowed(str(address), allowed=(), is_public=False)
    assert is_allowed("10.9.8.7", allowed=networks(["10.9.0.0/16"]))
    embedded = IPv6Address(int(ip_network("64:ff9b::/96").network_address) | int(IPv4Address("10.9.8.7")))
    assert is_allowed(str(embedded), allowed=networks(["10.9.0.0/16"]), is_public=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "books.example",
        "ftp://books.example/",
        "https://",
        "https://user:secret@books.example/",
        "https://books.example/#part",
        "https://books.example:0/",
        "https://books.example:99999/",
        "https://[::1/",
        "https://books.example/a b",
        "https://books.example\\@10.0.0.1/",
        "https://bücher.example/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://x.example/" + "a" * 1_000,
    ],
)
def test_urls_that_are_refused(url: str) -> None:
    """A URL that two libraries read differently reaches another host than the one that was checked."""
    with pytest.raises(InvalidRequest):
        require_url(url, allowed=())


def test_networks_of_the_operator_open_http_and_their_addresses() -> None:
    """A receiver beside Tether has no certificate; a typing error in the setting must stop the start."""
    allowed = networks(["10.1.0.0/16"])
    assert require_url(" http://10.1.2.3:8080/x ", allowed=allowed) == "http://10.1.2.3:8080/x"
    with pytest.raises(InvalidRequest):
        require_url("http://10.2.0.1/", allowed=allowed)
    with pytest.raises(InvalidRequest, match="TETHER_SUBSCRIBER_NETWORKS"):
        networks(["10.1"])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("kafka:payments", "kafka:payments"),
        (" kafka:a.b_c-1 ", "kafka:a.b_c-1"),
        ("kafka:" + "a" * 249, "kafka:" + "a" * 249),
        ("nats:tether.events", "nats:tether.events"),
        ("https://books.example/", None),
        ("books.example", None),
        ("kafkas:payments", None),
    ],
)
def test_topics_are_addresses(text: str, address: str | None) -> None:
    """What a broker would refuse, or read as several topics, must be refused before anything is stored."""
    assert require_topic(text, configured={"kafka", "nats"}) == address


@pytest.mark.parametrize(
    "text",
    [
        *(f"kafka:{name}" for name in ("", ".", "..", "a b", "a/b", "//host:9092/a", "é", "a\nb", "a" * 250)),
        *(
            f"nats:{name}"
            for name in ("", "a..b", ".a", "a.", "a.*", "a.>", "a b", "$JS.API", "//host:4222", "a" * 250)
        ),
    ],
)
def test_topics_that_are_refused(text: str) -> None:
    """A wildcard, a host or a blank in a topic would be another place than the one that was shown."""
    with pytest.raises(InvalidRequest, match="url"):
        require_topic(text, configured={"kafka", "nats"})


def test_a_topic_without_its_broker_is_refused() -> None:
    """Events for a broker that nobody configured would wait for ever."""
    with pytest.raises(InvalidRequest, match="TETHER_NATS_SERVERS"):
        require_topic("nats:events", configured={"kafka"})


def test_a_delivery_is_retried_for_days_and_asks_no_longer_than_an_hour_more() -> None:
    """An endpoint that is mended on Monday gets what happened on Friday; one that asks for a year is not obeyed."""
    assert sum(DELIVERY_S) > 4 * 86_400
    due = [
        decide(Response(503, "status"), tries=n, now=NOON, jitter=0.5) for n in range(1, len(DELIVERY_S) + 2)
    ]
    assert [result.state for result in due] == ["waiting"] * len(DELIVERY_S) + ["given_up"]
    asked = decide(Response(429, "status", 9e9), tries=1, now=NOON, jitter=0.5)
    assert asked.due_at == NOON + timedelta(seconds=RETRY_AFTER_MAX_S)
    # A success with an error is none, such as a redirect that some proxy made one of.
    assert decide(Response(200, "redirect"), tries=1, now=NOON, jitter=0.5).state == "waiting"
    with pytest.raises(IllegalStep):
        delivery_step("delivered", "given up")


def test_health_is_a_matter_of_time() -> None:
    """A burst of failures in a minute must not disable anybody; five days without a success must."""
    assert not must_disable(failing_since=None, now=NOON)
    assert not must_disable(failing_since=NOON - DISABLE_AFTER + timedelta(seconds=1), now=NOON)
    assert must_disable(failing_since=NOON - DISABLE_AFTER, now=NOON)
    assert not is_recovery(failing_since=NOON - timedelta(seconds=30), now=NOON)
    assert is_recovery(failing_since=NOON - timedelta(minutes=2), now=NOON)
    assert step("disabled", "activated") == "active"
    with pytest.raises(IllegalStep):
        step("removed", "activated")


def test_filters() -> None:
    """An event of another account must not leave the house; one of no account is for those who get all."""
    assert wants(EventFilter(), name="clock.stepped", account=None)
    chosen = EventFilter(types=("iban.blocked",), accounts=("club",))
    assert wants(chosen, name="iban.blocked", account="club")
    assert not wants(chosen, name="iban.blocked", account="default")
    assert require_types(["iban.blocked", "iban.blocked"]) == ("iban.blocked",)
    assert require_types(None) is None
    with pytest.raises(InvalidRequest):
        require_types([])


@given(st.integers(1, 2**40), st.integers(1, 2**40), st.integers(0, 10**6))
def test_an_event_has_one_id_and_another_event_another_one(event_id: int, attempt_id: int, ms: int) -> None:
    """After a restore the row number is used again: a receiver that knows the id would throw the new event away."""
    at = NOON + timedelta(milliseconds=ms)
    payload = events.encode(AttemptStatusChanged(attempt_id, "t", "pending", "approved", "approved"))
    other = events.encode(AttemptStatusChanged(attempt_id + 1, "t", "pending", "approved", "approved"))
    found = cloud_events.stable_id(event_id, occurred_at=at, payload=payload)
    assert found == cloud_events.stable_id(event_id, occurred_at=at, payload=payload)
    assert len(found) <= 45
    assert found != cloud_events.stable_id(event_id, occurred_at=at, payload=other)
    assert found != cloud_events.stable_id(event_id, occurred_at=at + timedelta(seconds=1), payload=payload)


def test_what_events_are_about() -> None:
    """Events about one payment share a key, and only they wait for each other."""
    edited = events.encode(DebtorEdited(9, 1, 1, ("name",), "clear", "clear"))
    assert cloud_events.order_key(edited) == "debtors/9"
    assert cloud_events.order_key(events.encode(ClockStepped("postgres", 5))) is None


def test_each_body_is_as_its_schema_says() -> None:
    """A subscriber generates code from the schemas; a field that is missing there is lost for it."""
    made = {kind.name: kind for kind in cloud_events.catalogue()}
    assert tuple(made) == NAMES
    for event_class in get_args(Event):
        fact: Any = msgspec.convert(_values(event_class), event_class)
        payload = events.encode(fact)
        body = msgspec.json.decode(cloud_events.body(7, occurred_at=NOON, payload=payload, account="default"))
        kind = made[events.name(fact)]
        assert body["type"] == kind.type == kind.body_schema["properties"]["type"]["const"]
        assert set(body) <= set(kind.body_schema["properties"])
        assert set(kind.body_schema["required"]) <= set(body)
        assert set(body["data"]) == set(kind.data_schema["properties"])
        assert kind.text.endswith(".")


def _values(event_class: Any) -> dict[str, Any]:
    made: dict[str, Callable[[], Any]] = {"int": lambda: 1, "int | None": lambda: 1, "str": lambda: "x"}
    found: dict[str, Any] = {"event": event_class.__struct_config__.tag}
    for field in msgspec.structs.fields(event_class):
        name = getattr(field.type, "__name__", str(field.type))
        found[field.name] = made.get(name, lambda name=name: ["x"] if "tuple" in name else "x")()
    return found
