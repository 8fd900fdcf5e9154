"""
Send the simulator's notifications: each is repeated until it is acknowledged, ten times at most.

With fault injection, some are duplicated at once or later, some are delayed so that later ones overtake them, and some are
preceded by one with an invalid signature.
"""

import asyncio
import random
from collections import Counter
from typing import Literal

import httpx
import msgspec

from tether_sandbox.gateway.payment_history import Fields
from tether_sandbox.gateway.sender import REFUSALS, clients, echoed_id
from tether_sandbox.gateway.setup import Setup
from tether_sandbox.gateway.wire import FORM, encode, sign

__all__ = ["Crafted", "Notifier"]

_LATER_S = 1.0  # longest delay of duplicates and reordered notifications


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

    __slots__ = ("body", "invalid_signature", "posts", "unique_id")

    def __init__(self, fields: Fields, *, invalid_signature: bool, echoed: str | None = None) -> None:
        self.unique_id = echoed or fields["unique_id"]
        self.body = encode(fields)
        self.invalid_signature = invalid_signature
        self.posts = 0


class Notifier:
    """
    Sends notifications in the background.

    Attributes:
        counts: notified, crafted, posts, acknowledged, refused, wrongly_accepted (invalid signatures), given_up.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.counts = Counter[str]()
        self._rng = random.Random(setup.seed)
        self._queue = asyncio.Queue[_Notice]()
        self._outstanding = 0
        self._idle = asyncio.Event()
        self._idle.set()

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
            notice = _Notice(
                fields | {"signature": signature}, invalid_signature=False, echoed=crafted.signed_id
            )
            self._later(notice, delay_s=0.0)

    async def idle(self) -> None:
        """Wait until every notification is acknowledged, refused or given up."""
        await self._idle.wait()

    def _send(self, fields: Fields, *, delay_s: float, invalid_signature: bool = False) -> None:
        self._outstanding += 1
        self._idle.clear()
        self._later(_Notice(fields, invalid_signature=invalid_signature), delay_s=delay_s)

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
            self.counts[outcome or "given_up"] += 1
            self._outstanding -= 1
            if not self._outstanding:
                self._idle.set()

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
