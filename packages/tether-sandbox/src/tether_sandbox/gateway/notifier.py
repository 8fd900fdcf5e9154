"""
Send the simulator's notifications: each is repeated until it is acknowledged, ten times at most.

With fault injection, some are duplicated at once or later, some are delayed so that later ones overtake them, and some are
preceded by one with an invalid signature.
"""

import asyncio
import random
from collections import Counter, deque
from typing import Final, Literal

import httpx
import msgspec

from tether_sandbox.gateway.payment_history import Fields
from tether_sandbox.gateway.sender import REFUSALS, clients, echoed_id
from tether_sandbox.gateway.setup import Setup
from tether_sandbox.gateway.wire import FORM, encode, sign

__all__ = ["REPEATABLE_S", "Crafted", "Notifier"]

_LATER_S = 1.0  # longest delay of duplicates and reordered notifications
# How long an acknowledged notification can be repeated.
REPEATABLE_S: Final = 600.0


class Crafted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Notifications as an attacker with one valid signature, or the login, can write them.

    Attributes:
        signed_id: The id whose signature they carry, and that the echo must contain.
        fields: All fields but the signature; "{n}" in a value becomes the number of the notification, from 0.
        signed_with: The secret of the signature: the password, or the login as for identity checks.
        times: How many are sent.
    """

    signed_id: str
    fields: Fields
    signed_with: Literal["password", "login"] = "password"
    times: int = 1


class _Notice:
    """A notification to be delivered."""

    __slots__ = ("body", "invalid_signature", "is_repeat", "posts", "unique_id")

    def __init__(
        self, body: bytes, *, unique_id: str, invalid_signature: bool = False, is_repeat: bool = False
    ) -> None:
        self.unique_id = unique_id
        self.body = body
        self.invalid_signature = invalid_signature
        self.is_repeat = is_repeat
        self.posts = 0


class Notifier:
    """
    Sends notifications in the background.

    Attributes:
        counts: notified, crafted, posts, acknowledged, refused, believed (invalid signatures), given_up, repeated
            (acknowledged again after `repeat`).
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.counts = Counter[str]()
        self._rng = random.Random(setup.seed)
        self._queue = asyncio.Queue[_Notice]()
        self._outstanding = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # When each was acknowledged, by the loop's clock; the oldest first.
        self._acknowledged = deque[tuple[float, _Notice]]()

    async def run(self) -> None:
        """Send until cancelled."""
        width = self.setup.notify_concurrency
        async with clients(width, timeout_s=30.0) as own, asyncio.TaskGroup() as group:
            for client in own:
                group.create_task(self._work(client))

    def notify(self, fields: Fields) -> None:
        """
        Queue a notification.

        Args:
            fields: All fields but the signature.
        """
        if not self.setup.notify_url:
            return
        self.counts["notified"] += 1
        rng, fault_injection = self._rng, self.setup.fault_injection
        right = sign(fields["unique_id"], password=self.setup.passwords[0], algorithm=self.setup.algorithm)
        signed = fields | {"signature": right}
        delay_s = rng.random() * _LATER_S if rng.random() < fault_injection.reordered else 0.0
        if rng.random() < fault_injection.invalid_signature_first + fault_injection.invalid_signature:
            wrong = f"{rng.getrandbits(4 * len(right)):0{len(right)}x}"
            self._send(signed | {"signature": wrong}, delay_s=delay_s, invalid_signature=True)
        self._send(signed, delay_s=delay_s)
        if rng.random() < fault_injection.repeated_at_once:
            self._send(signed, delay_s=delay_s)
        if rng.random() < fault_injection.repeated_later:
            self._send(signed, delay_s=delay_s + rng.random() * _LATER_S)

    def craft(self, crafted: "Crafted") -> None:
        """Queue crafted notifications."""
        if not self.setup.notify_url:
            return
        secret = self.setup.login if crafted.signed_with == "login" else self.setup.passwords[0]
        signature = sign(crafted.signed_id, password=secret, algorithm=self.setup.algorithm)
        for number in range(crafted.times):
            fields = {name: value.replace("{n}", str(number)) for name, value in crafted.fields.items()}
            self.counts["crafted"] += 1
            self._outstanding += 1
            self._idle.clear()
            notice = _Notice(encode(fields | {"signature": signature}), unique_id=crafted.signed_id)
            self._later(notice, delay_s=0.0)

    def repeat(self, *, last_s: float) -> int:
        """
        Send notifications again that were acknowledged lately, as after a request to the gateway's support.

        Args:
            last_s: How long ago at most, in seconds; up to `REPEATABLE_S`.

        Returns:
            How many.
        """
        since_s = asyncio.get_running_loop().time() - last_s
        notices = [notice for at_s, notice in self._acknowledged if at_s >= since_s]
        for notice in notices:
            self._outstanding += 1
            self._idle.clear()
            again = _Notice(notice.body, unique_id=notice.unique_id, is_repeat=True)
            self._later(again, delay_s=0.0)
        return len(notices)

    async def idle(self) -> None:
        """Wait until every notification is acknowledged, refused or given up."""
        await self._idle.wait()

    def _send(self, fields: Fields, *, delay_s: float, invalid_signature: bool = False) -> None:
        self._outstanding += 1
        self._idle.clear()
        notice = _Notice(encode(fields), unique_id=fields["unique_id"], invalid_signature=invalid_signature)
        self._later(notice, delay_s=delay_s)

    def _later(self, notice: _Notice, *, delay_s: float) -> None:
        if delay_s <= 0:
            self._queue.put_nowait(notice)
        else:
            asyncio.get_running_loop().call_later(delay_s, self._queue.put_nowait, notice)

    async def _work(self, client: httpx.AsyncClient) -> None:
        while True:
            notice = await self._queue.get()
            outcome = await self._post(notice, client)
            if not outcome and notice.posts < self.setup.retries_max:
                self._later(notice, delay_s=self.setup.retry_interval_s)
                continue
            if outcome == "acknowledged":
                self._keep(notice)
            self.counts[
                "repeated" if outcome == "acknowledged" and notice.is_repeat else outcome or "given_up"
            ] += 1
            self._outstanding -= 1
            if not self._outstanding:
                self._idle.set()

    def _keep(self, notice: _Notice) -> None:
        now_s = asyncio.get_running_loop().time()
        self._acknowledged.append((now_s, notice))
        while self._acknowledged[0][0] < now_s - REPEATABLE_S:
            self._acknowledged.popleft()

    async def _post(self, notice: _Notice, client: httpx.AsyncClient) -> str:
        """Post a notification; returns the outcome, or "" if it must be repeated."""
        notice.posts += 1
        self.counts["posts"] += 1
        try:
            answer = await client.post(
                self.setup.notify_url, content=notice.body, headers={"content-type": FORM}
            )
        except httpx.HTTPError:
            return ""
        if answer.status_code == 200 and echoed_id(answer.content) == notice.unique_id:
            return "believed" if notice.invalid_signature else "acknowledged"
        if notice.invalid_signature and answer.status_code in REFUSALS:
            return "refused"
        return ""
