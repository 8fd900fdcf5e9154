"""
Puts refused notifications into the quarantine, behind the response.

The response to a refused notification is the same, and as fast, whether it is kept or not: `offer` only appends to a short list in memory. A task takes
what waits, decides by the bounds of `tether_core.notifications.quarantine`, seals what is kept and stores it, at most once a second. What comes
while the list is full is counted and dropped, so a flood costs each process one small transaction a second and a fixed amount of memory.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import datetime
from typing import Final

import msgspec
from cryptography.fernet import MultiFernet
from tether_core.emp.notification import Notification
from tether_core.emp.signature import Credential
from tether_core.errors import InvalidRequest, TetherError
from tether_core.notifications.excess_deliveries import report_class
from tether_core.notifications.quarantine import Bounds, RefusedNotification, account_of, decide
from tether_stores.accounts.gateway_accounts import opened_keys
from tether_stores.notifications import quarantine
from tether_stores.notifications.quarantine import NewRow, digest_of, sealed
from tether_stores.postgres import Pool, transaction
from tether_stores.telemetry import Sampled, logger

from tether_web.http.metrics import QUARANTINED

__all__ = ["FLUSH_S", "WAITING_MAX", "WAITING_MAX_BYTES", "RefusedNotifications"]

# The pause after a transaction.
FLUSH_S: Final = 1.0
# A wrong password refuses some tens of notifications a second at most.
WAITING_MAX: Final = 256
WAITING_MAX_BYTES: Final = 1_048_576
_WRITE_MAX_S: Final = 10.0
_STOP_MAX_S: Final = 2.0

_log = logger("quarantine")
_sampled = Sampled(_log)


class _Waiting(msgspec.Struct):
    """A body that waits to be stored."""

    notification: Notification
    content_type: str
    body: bytes
    account: str
    sender: str
    deliveries: int
    received_at: datetime
    last_received_at: datetime
    relay_id: int | None


class RefusedNotifications:
    """What a process refused lately, on its way into the quarantine."""

    def __init__(
        self, pool: Pool, *, keys: Sequence[str], bounds: Bounds, clock: Callable[[], datetime]
    ) -> None:
        """
        Nothing runs until the first notification.

        Args:
            keys: `TETHER_SECRETS_KEY`; without a usable key nothing is kept.
            bounds: How much is kept.
        """
        self._pool = pool
        self._bounds = bounds
        self._clock = clock
        self._keys = _usable(keys)
        self._waiting: dict[bytes, _Waiting] = {}
        self._waiting_bytes = 0
        self._running: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def offer(
        self,
        notification: Notification,
        body: bytes,
        *,
        content_type: str,
        credentials: Sequence[Credential],
        sender: Callable[[], str | None],
        relay_id: int | None = None,
    ) -> None:
        """
        Take a refused notification in, or count it as dropped; never waits and never raises for want of room.

        Args:
            content_type: The media type of the body.
            credentials: Of the accounts that may have signed.
            sender: Returns the sender's address.
            relay_id: The relay by which it came; `None` for the plain route.
        """
        if self._keys is None:
            QUARANTINED.labels("no_key").inc()
            return
        if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + len(body) > WAITING_MAX_BYTES:
            QUARANTINED.labels("dropped").inc()
            return
        now, digest = self._clock(), digest_of(body, relay_id=relay_id)
        before = self._waiting.get(digest)
        if before is not None:
            before.deliveries += 1
            before.last_received_at = now
        else:
            self._waiting[digest] = _Waiting(
                notification,
                content_type,
                body,
                account_of(notification.terminal_token, credentials),
                sender() or "",
                1,
                now,
                now,
                relay_id,
            )
            self._waiting_bytes += len(body)
        if self._running is None:
            self._running = asyncio.create_task(self._run(self._keys), context=Context())

    async def close(self) -> None:
        """Store what waits; a hanging transaction is abandoned."""
        self._closing.set()
        if self._running is not None:
            running = self._running
            await asyncio.wait([running], timeout=_STOP_MAX_S)
            running.cancel()

    async def _run(self, keys: MultiFernet) -> None:
        try:
            while self._waiting:
                await self._flush(keys)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), FLUSH_S)
        finally:
            self._running = None

    async def _flush(self, keys: MultiFernet) -> None:
        taken, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if not taken:
            return
        try:
            async with asyncio.timeout(_WRITE_MAX_S):
                await self._store(taken, keys)
        except (TetherError, TimeoutError) as exc:
            # The gateway repeats what was refused.
            QUARANTINED.labels("dropped").inc(sum(each.deliveries for each in taken.values()))
            _sampled.warning("quarantine not written", why=str(exc) or "no commit in time", rows=len(taken))
        except Exception as exc:  # noqa: BLE001 - the task must go on for what comes next
            QUARANTINED.labels("dropped").inc(sum(each.deliveries for each in taken.values()))
            _log.error("quarantine not written", exc_info=exc)

    async def _store(self, taken: dict[bytes, _Waiting], keys: MultiFernet) -> None:
        waiting = list(taken.items())
        now = self._clock()
        async with transaction(self._pool) as conn:
            await quarantine.hold(conn)
            attempt_ids = await quarantine.debits(
                conn, [(each.notification.unique_id, each.notification.transaction_id) for _, each in waiting]
            )
            refused = [
                RefusedNotification(digest, each.account, attempt_id, len(each.body))
                for (digest, each), attempt_id in zip(waiting, attempt_ids, strict=True)
            ]
            decisions = decide(
                refused,
                stored=await quarantine.stored(conn, taken.keys()),
                held=await quarantine.quotas(conn, {each.account for each in refused}, now=now),
                of_debits=await quarantine.of_debits(
                    conn, {known for known in attempt_ids if known is not None}
                ),
                bounds=self._bounds,
            )
            kept = [each for each, decision in zip(refused, decisions, strict=True) if decision == "kept"]
            # Half a millisecond for the largest body; other requests of this process must not wait for a hundred of them.
            texts = await asyncio.to_thread(
                lambda: [
                    sealed(each.digest, taken[each.digest].content_type, taken[each.digest].body, keys=keys)
                    for each in kept
                ]
            )
            rows = [_row(each, taken[each.digest], text) for each, text in zip(kept, texts, strict=True)]
            repeats = {
                each.digest: (taken[each.digest].deliveries, taken[each.digest].last_received_at)
                for each, decision in zip(refused, decisions, strict=True)
                if decision == "repeated"
            }
            if rows:
                await quarantine.add(conn, rows)
            if repeats:
                await quarantine.repeat(conn, repeats)
        for each, decision in zip(refused, decisions, strict=True):
            QUARANTINED.labels(decision).inc(taken[each.digest].deliveries)
        if "over_quota" in decisions:
            _sampled.warning("quarantine full", excluded=decisions.count("over_quota"))


def _row(refused: RefusedNotification, waiting: _Waiting, text: bytes) -> NewRow:
    return NewRow(
        digest=refused.digest,
        account=refused.account,
        notification_id=waiting.notification.id,
        report_class=report_class(waiting.notification),
        attempt_id=refused.attempt_id,
        sealed=text,
        size_bytes=refused.size_bytes,
        sender=waiting.sender,
        deliveries=waiting.deliveries,
        received_at=waiting.received_at,
        last_received_at=waiting.last_received_at,
        relay_id=waiting.relay_id,
    )


def _usable(keys: Sequence[str]) -> MultiFernet | None:
    try:
        return opened_keys(keys)
    except InvalidRequest as exc:
        _log.error("refused notifications are not kept", why=str(exc))
        return None
