r"""
The simulator as an ASGI application: the gateway's XML API, and a JSON API of its ledger for tests.

The gateway's own paths (Basic auth, `text/xml`, POST):

| path | request |
|---|---|
| `/process/TOKEN` | sdd_sale, sdd_init_recurring_sale, sdd_recurring_sale, sdd_refund, void |
| `/reconcile/TOKEN` | one payment, by unique_id or transaction_id |
| `/reconcile/by_date/TOKEN` | payments of at most 7 days, paginated |
| `/chargebacks` | the chargebacks of a payment |
| `/chargebacks/by_date` | chargebacks by import_date (empty by posting date: direct debits have none) |

For tests (JSON, no auth; listen on loopback only):

| path | effect |
|---|---|
| `GET /ledger` | sums by status, refunds and voids, requests by kind, notifications, ids debited twice or refunded and charged back |
| `GET /ledger/debits?transaction_id=\|unique_id=\|fingerprint=` | records, and how many of them took money |
| `GET /ledger/requests` | number of requests of each kind; cheap, for polling |
| `GET /ledger/rates?kind=sale&window_s=10` | the most and the fewest requests within any such window, and the number in each second |
| `POST /ledger/resolve` | carry out all pending transitions now; responds when all notifications are delivered |
| `POST /ledger/clock` | set the time of records, change the status of some payments then, and respond when all notifications are delivered |
| `POST /ledger/transition` | change the status of a payment, e.g. `{"unique_id": "...", "status": "chargebacked", "event": "chargeback"}` |
| `POST /ledger/refund` | refund a debit in the back office, e.g. `{"unique_id": "..."}` |
| `POST /ledger/adopt` | add payments made elsewhere, with their histories |
| `POST /ledger/craft` | send notifications as an attacker with one valid signature can: other kinds, floods, false statuses |
| `POST /ledger/faults` | set the random faults |
| `POST /ledger/passwords` | replace the API passwords, e.g. `["new"]`: all are accepted, the first signs |
| `POST /ledger/repeat?last_s=60` | send the notifications again that were acknowledged in that time |
| `GET /health` | 200 |
"""

import asyncio
import base64
import binascii
import contextlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from email.utils import formatdate
from heapq import merge
from time import time
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from tether_core.emp.document import read
from tether_core.errors import Unreadable

from tether_sandbox.gateway import responses
from tether_sandbox.gateway.connections import Relay
from tether_sandbox.gateway.engine import Answer, Engine
from tether_sandbox.gateway.intermediary_pages import PAGES
from tether_sandbox.gateway.ledger import SALES, ReceivedOrder
from tether_sandbox.gateway.notifier import Crafted
from tether_sandbox.gateway.payment_history import Transition
from tether_sandbox.gateway.process import Refused
from tether_sandbox.gateway.setup import Faults, Setup

__all__ = ["Adopted", "BackOfficeRefund", "ClockSetting", "Gateway", "StatusChange"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_BODY_MAX_BYTES: Final = 16 * 1024 * 1024
_MEDIA: Final = frozenset({b"text/xml", b"application/xml"})
_CHALLENGE: Final = ((b"www-authenticate", b'Basic realm="Web Password"'),)


class Adopted(msgspec.Struct, frozen=True):
    """
    A payment made elsewhere, to be added to the ledger.

    Attributes:
        transaction_id: The merchant's id.
        unique_id: The gateway's id.
        amount_minor: Whole minor units.
        currency: Three capitals.
        taken_at: When the gateway accepted it, aware.
        transitions: Its transitions, in order; none for a pending payment.
    """

    transaction_id: str
    unique_id: str
    amount_minor: int
    currency: str
    taken_at: datetime
    transitions: tuple[Transition, ...] = ()


class StatusChange(msgspec.Struct, frozen=True):
    """
    A status change of a payment, to happen now.

    Attributes:
        status: The new status.
        event: The dispute's event, or "".
        reason_code: Of chargebacks, or "".
        error_code: Of errors and declines, or "".
        unique_id: The gateway's id of the payment, or
        transaction_id: the merchant's.
        amount: Another amount for its notification, as text, or "".
        currency: Another currency for its notification, or "".
        dispute: Distinguishes disputes of one payment: another text gives another dispute id.
    """

    status: str
    event: str = ""
    reason_code: str = ""
    error_code: str = ""
    unique_id: str | None = None
    transaction_id: str | None = None
    amount: str = ""
    currency: str = ""
    dispute: str = ""


class ClockSetting(msgspec.Struct, frozen=True):
    """
    A time that the simulator's records have from now on, until the next one; for runs that play months in a minute.

    Attributes:
        now: The time, aware.
        changes: Status changes that happen then.
    """

    now: datetime
    changes: tuple[StatusChange, ...] = ()


class BackOfficeRefund(msgspec.Struct, frozen=True):
    """
    A refund made in the gateway's back office.

    Attributes:
        unique_id: The gateway's id of the debit.
        amount_minor: The refunded amount; `None` for the whole.
        status: The final status of the refund.
        is_notified: Whether a notification is sent.
    """

    unique_id: str
    amount_minor: int | None = None
    status: str = "approved"
    is_notified: bool = True


class Gateway:
    """
    A simulated gateway.

    Attributes:
        setup: The configuration.
        engine: Processes the requests.
    """

    def __init__(self, setup: Setup, *, port: int = 0) -> None:
        """
        Create the application.

        Args:
            port: Where it is served on 127.0.0.1, for the relay.
        """
        self.setup = setup
        self._port = port
        self.engine = Engine(setup)
        # Kind of request -> times of arrival; 8 bytes each, so that a load test of millions fits.
        self._arrivals: dict[str, array[float]] = {}
        self._controls: dict[tuple[str, str], Callable[[dict[str, str], bytes], object]] = {
            ("GET", "/health"): lambda _query, _body: {"status": "ok"},
            ("GET", "/ledger"): lambda _query, _body: self._sums(),
            ("GET", "/ledger/debits"): lambda query, _body: self._records(query),
            ("GET", "/ledger/requests"): lambda _query, _body: self._requests(),
            ("GET", "/ledger/rates"): lambda query, _body: self._rates(**query),
            ("POST", "/ledger/transition"): lambda _query, body: self._transition(
                msgspec.json.decode(body, type=StatusChange)
            ),
            ("POST", "/ledger/refund"): lambda _query, body: self._refund(
                msgspec.json.decode(body, type=BackOfficeRefund)
            ),
            ("POST", "/ledger/adopt"): lambda _query, body: self._adopt(
                msgspec.json.decode(body, type=list[Adopted])
            ),
            ("POST", "/ledger/craft"): lambda _query, body: self._craft(
                msgspec.json.decode(body, type=Crafted)
            ),
            ("POST", "/ledger/faults"): lambda _query, body: self._set_faults(
                msgspec.json.decode(body, type=Faults)
            ),
            ("POST", "/ledger/passwords"): lambda _query, body: self._set_passwords(
                msgspec.json.decode(body, type=tuple[str, ...])
            ),
            ("POST", "/ledger/repeat"): lambda query, _body: {
                "repeated": self.engine.notifier.repeat(last_s=float(query["last_s"]))
            },
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an ASGI scope."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            answer = await self._answer(scope, await _body(receive))
            await self._respond(answer, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        running = [
            asyncio.create_task(self.engine.notifier.run()),
            asyncio.create_task(self.engine.run_clock()),
        ]
        relaying = await self._relaying()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if relaying is not None:
            relaying.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await send({"type": "lifespan.shutdown.complete"})

    async def _relaying(self) -> asyncio.Server | None:
        if not self.setup.relay_port:
            return None
        relay = Relay(self._port, seed=self.setup.seed, faults=lambda: self.engine.faults, count=self._count)
        return await relay.listen(self.setup.relay_port)

    # --- the gateway's own paths ---

    async def _answer(self, scope: Scope, body: bytes) -> Answer:
        method, path = scope["method"], scope["path"].rstrip("/")
        if path == "/health" or path.startswith("/ledger"):
            query = dict(parse_qsl(scope["query_string"].decode()))
            return await self._control(method, path, query, body)
        headers = {name.lower(): value for name, value in scope["headers"]}
        answer = (
            self._intermediary()
            or self._rejected(method, headers)
            or self._processed(path.split("/")[1:], headers, body)
        )
        if self.setup.latency_s:
            await asyncio.sleep(self.setup.latency_s)
        return answer

    def _intermediary(self) -> Answer | None:
        """The intermediary's response, if one responds in the gateway's place."""
        if not self.engine.faults.page:
            return None
        self._count("page")
        return Answer(b"", failure_mode=self.engine.faults.page)

    def _rejected(self, method: str, headers: dict[bytes, bytes]) -> Answer | None:
        """The response to a request that is not authorised or over the limit."""
        if method != "POST":
            return Answer(b"", 405)
        if self._is_over_limit():
            self._count("throttled")
            return Answer(b"", failure_mode="429")
        if not self._is_authorised(headers.get(b"authorization", b"")):
            self._count("unauthorised")
            return Answer(responses.refusal("110", "Invalid credentials!"), 401, headers=_CHALLENGE)
        return None

    def _processed(self, path: list[str], headers: dict[bytes, bytes], body: bytes) -> Answer:
        """Decode a request and pass it to the engine."""
        root = "chargeback_response" if path[0] == "chargebacks" else "payment_response"
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() not in _MEDIA:
            return Answer(responses.refusal("360", "Content type must be text/xml", root=root))
        try:
            return self._routed(path, read(body, what="request").fields())
        except Unreadable:
            return Answer(responses.refusal("350", "XML is invalid", root=root))
        except Refused as refused:
            return Answer(responses.refusal(refused.code, refused.why, root=root))

    def _routed(self, path: list[str], fields: dict[str, str]) -> Answer:
        match path:
            case ["chargebacks"] | ["chargebacks", "by_date"]:
                self._count("chargebacks")
                return self.engine.chargebacks(fields)
            case ["process", token]:
                kind = fields.get("transaction_type", "")
                self._count("sale" if kind in SALES else kind)
                return self.engine.process(self._terminal(token), fields)
            case ["reconcile", "by_date", token]:
                self._count("by_date")
                return self.engine.by_date(self._terminal(token), fields)
            case ["reconcile", token]:
                self._count("reconcile")
                return self.engine.reconcile(self._terminal(token), fields)
            case _:
                return Answer(b"", 404)

    def _terminal(self, token: str) -> str:
        if token not in self.setup.terminals:
            raise Refused("220", "Invalid Terminal")
        return token

    def _count(self, kind: str) -> None:
        self._arrivals.setdefault(kind, array("d")).append(asyncio.get_running_loop().time())

    def _is_over_limit(self) -> bool:
        if not self.setup.rate_limit_per_s:
            return False
        since_s = asyncio.get_running_loop().time() - 1
        counted = (times for kind, times in self._arrivals.items() if kind != "throttled")
        recent = sum(len(times) - bisect_right(times, since_s) for times in counted)
        return recent >= self.setup.rate_limit_per_s

    def _is_authorised(self, header: bytes) -> bool:
        scheme, _, credentials = header.partition(b" ")
        try:
            login, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return False
        logins = (self.setup.login, *self.setup.further_logins)
        return scheme.lower() == b"basic" and login in logins and password in self.setup.passwords

    # --- for tests ---

    async def _control(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        if (method, path) == ("POST", "/ledger/resolve"):
            return _json({"transitions": await self.engine.resolve()})
        control = self._controls.get((method, path))
        if control is None and (method, path) != ("POST", "/ledger/clock"):
            return _json({"error": "no such path"}, status=404)
        try:
            if control is None:
                return _json(await self._set_clock(msgspec.json.decode(body, type=ClockSetting)))
            return _json(control(query, body))
        except (msgspec.DecodeError, ValueError, TypeError) as exc:
            return _json({"error": str(exc)}, status=400)

    def _sums(self) -> dict[str, object]:
        ledger = self.engine.ledger
        return {
            "by_status": {
                status: {"debits": number, "amount_minor": amount}
                for status, (number, amount) in sorted(ledger.by_status().items())
            },
            "debited_twice": ledger.debited_twice(),
            "refunded": {
                kind: {"orders": number, "amount_minor": amount}
                for kind, (number, amount) in sorted(ledger.refunded().items())
            },
            "refunded_and_charged_back": ledger.refunded_and_charged_back(),
            "requests": self._requests(),
            "notifications": dict(self.engine.notifier.counts),
            "chargebacks": len(ledger.chargebacks),
            "ahead": self.engine.ahead,
        }

    def _requests(self) -> dict[str, int]:
        return {kind: len(times) for kind, times in sorted(self._arrivals.items())}

    def _records(self, query: dict[str, str]) -> dict[str, object]:
        if len(query) > 1:
            raise ValueError("give at most one of unique_id, transaction_id, fingerprint")
        found = self.engine.ledger.records(**query)
        return {"debited": sum(debit.took_money for debit in found), "debits": found}

    def _rates(self, kind: str = "sale", window_s: str = "10") -> dict[str, object]:
        times = list(merge(*(self._arrivals.get(item, ()) for item in kind.split(","))))
        span_s = float(window_s)
        most, least, begin = 0, None, 0
        for end, at_s in enumerate(times):
            while times[begin] <= at_s - span_s:
                # The window that begins with the request that is dropped here; it ends before the current one.
                least = end - begin if least is None else min(least, end - begin)
                begin += 1
            most = max(most, end - begin + 1)
        per_second = Counter(int(at_s - times[0]) for at_s in times)
        return {
            "requests": len(times),
            "most_in_window": most,
            "least_in_window": least,
            "span_s": times[-1] - times[0] if times else 0.0,
            "per_second": [per_second[second] for second in range(max(per_second, default=-1) + 1)],
        }

    async def _set_clock(self, setting: ClockSetting) -> dict[str, object]:
        if setting.now.tzinfo is None:
            raise ValueError("now needs an offset")
        self.engine.set_clock(setting.now)
        for change in setting.changes:
            self._transition(change)
        await self.engine.notifier.idle()
        return {"records": len(self.engine.ledger.debits)}

    def _transition(self, result: StatusChange) -> dict[str, object]:
        debit = self.engine.ledger.found(unique_id=result.unique_id, transaction_id=result.transaction_id)
        if debit is None:
            raise ValueError("there is no such payment")
        transition = Transition(
            result.status,
            result.event,
            result.reason_code,
            result.error_code,
            result.amount,
            result.currency,
            result.dispute,
        )
        self.engine.transition(debit, transition)
        return {"status": debit.status}

    def _refund(self, order: BackOfficeRefund) -> dict[str, object]:
        debit = self.engine.ledger.found(unique_id=order.unique_id)
        if debit is None:
            raise ValueError("there is no such payment")
        refund = self.engine.refund_in_back_office(
            debit, amount_minor=order.amount_minor, status=order.status, is_notified=order.is_notified
        )
        return {"unique_id": refund.unique_id}

    def _adopt(self, payments: list[Adopted]) -> dict[str, object]:
        ledger, terminal = self.engine.ledger, self.setup.terminals[0]
        for adopted in payments:
            order = ReceivedOrder(
                adopted.transaction_id, "sdd_sale", terminal, adopted.amount_minor, adopted.currency
            )
            debit = ledger.add(
                order, status="pending_async", unique_id=adopted.unique_id, now=adopted.taken_at
            )
            for transition in adopted.transitions:
                self.engine.record_transition(debit, transition)
        return {"adopted": len(payments)}

    def _craft(self, crafted: Crafted) -> dict[str, object]:
        self.engine.notifier.craft(crafted)
        return {"crafted": crafted.times}

    def _set_passwords(self, passwords: tuple[str, ...]) -> dict[str, object]:
        if not passwords:
            raise ValueError("give at least one password")
        self.setup = msgspec.structs.replace(self.setup, passwords=passwords)
        self.engine.setup = self.engine.notifier.setup = self.setup
        return {}

    def _set_faults(self, faults: Faults) -> dict[str, object]:
        self.engine.faults = faults
        return {}

    # --- responses ---

    async def _respond(self, answer: Answer, receive: Receive, send: Send) -> None:
        """Send a response with its failure mode."""
        match answer.failure_mode:
            case "silence":
                # Hold the connection until the client gives up.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(receive(), self.setup.silence_s)
                answer = Answer(b"", 504)
            case "slow":
                await asyncio.sleep(self.setup.slow_s)
            case "junk":
                answer = Answer(b"<html><body><h1>Welcome to the new gateway<br>", content_type="text/html")
            case "429" | "500" | "502" | "503":
                page = f"<html><body><h1>{answer.failure_mode}</h1></body></html>".encode()
                headers_429 = self._retry_after() if answer.failure_mode == "429" else ()
                answer = Answer(page, int(answer.failure_mode), "text/html", headers_429)
            case "429 refusal":
                answer = Answer(answer.body, 429, headers=self._retry_after())
            case "422 refusal":
                answer = Answer(answer.body, 422)
            case "plain" | "hang_up" | "cut":
                pass
            case name:
                page_ = PAGES[name]
                answer = Answer(page_.body, page_.status, page_.content_type, page_.headers)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        sent = {"hang_up": 0, "cut": len(answer.body) // 2}.get(answer.failure_mode)
        # After a promise of more that is never sent, the server closes the connection.
        await send({"type": "http.response.body", "body": answer.body[:sent], "more_body": sent is not None})

    def _retry_after(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header `Retry-After` as configured; with a date, also the header `Date`."""
        match self.setup.retry_after:
            case "seconds":
                return ((b"retry-after", str(self.setup.retry_after_s).encode()),)
            case "date":
                now_s = time()
                until, at = (
                    formatdate(timestamp_s, usegmt=True).encode()
                    for timestamp_s in (now_s + self.setup.retry_after_s, now_s)
                )
                return ((b"retry-after", until), (b"date", at))
            case "none":
                return ()


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > _BODY_MAX_BYTES:
            return bytes(body)


def _json(content: object, *, status: int = 200) -> Answer:
    return Answer(msgspec.json.encode(content), status, "application/json")
