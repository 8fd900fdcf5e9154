"""
Play a year: move the clock from event to event, and do what people, banks and bad luck do in it.

A day has up to three events. At **midnight** of the banks due items become due, pre-notifications go out, and debits are submitted. In the **morning** of
a TARGET day the banks report, where they have anything: debits are approved, rejected, returned, and the gateway notifies. At **noon** people
look: they resume runs that were paused, and correct what went wrong. After each event the worker runs until nothing is left to do (`tether_sandbox.year.worker`).
"""

import asyncio
import heapq
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from tether_core.target_calendar import bank_day, is_open
from tether_stores.postgres import connection
from tether_stores.queries import split_file
from tether_stores.settings import Settings
from tether_worker.reconciliation.report_fetches import want

from tether_sandbox.gateway import Faults, Simulator, StatusChange
from tether_sandbox.receiver import Received, Receiver, serve
from tether_sandbox.services import Services
from tether_sandbox.settings import PASSWORD
from tether_sandbox.year.bank import outcome
from tether_sandbox.year.clock import YearClock, midnight
from tether_sandbox.year.script import PLANS, Payer, YearScript
from tether_sandbox.year.web import serving
from tether_sandbox.year.worker import YearWorker, working

__all__ = ["PORTAL_EVENTS", "Month", "Played", "play"]

_SQL: Final = split_file("tether_sandbox", "sql/year")
NEW_PASSWORD: Final = "sandbox-password-of-summer"  # noqa: S105 - the simulator's, published
# One subscriber gets everything, the other one what a portal for customers shows.
PORTAL_EVENTS: Final = ("attempt.status_changed", "pre_notification.status_changed")
_MORNING: Final = timedelta(hours=7)
_NOON: Final = timedelta(hours=12)
_OUTAGE: Final = timedelta(hours=30)
_DAY: Final = timedelta(days=1)
# Of the debits: taken, and the connection closed without a response; and refused with 503.
_FAULTS: Final = Faults(hung_up=0.03, refused=0.02)
# Of the events: the receiver fails once.
_FAILING: Final = 0.03
_ENDINGS_MAX: Final = 60


class Month(msgspec.Struct):
    """
    What happened in a month, for people who watch.

    Attributes:
        first_on: Its first day.
        debits: Debits that the gateway took.
        reported: Changes that the banks reported, by status.
        notes: What went wrong, and was corrected.
    """

    first_on: date
    debits: int = 0
    reported: Counter[str] = msgspec.field(default_factory=Counter)
    notes: list[str] = msgspec.field(default_factory=list)


class Played(msgspec.Struct):
    """
    What the year was like, seen from outside.

    Attributes:
        script: What was to happen.
        enrolled_at: When the schedules began.
        ended_on: The day whose midnight was played last.
        gateway_records: The gateway's records.
        gateway_sums: Its sums.
        subscribers: The receivers by name.
        reverified: Notifications that were taken in from the quarantine.
        completeness: What the gateway's reports of the whole year have, and how we know it.
        resumed: Runs that were paused by the auto-pause, and resumed by a person.
        files: The directory with the files of pre-notifications.
    """

    script: YearScript
    enrolled_at: datetime
    ended_on: date
    gateway_records: list[dict[str, Any]]
    gateway_sums: dict[str, Any]
    subscribers: dict[str, Receiver]
    reverified: int
    completeness: dict[str, Any]
    resumed: int
    files: Path


async def play(
    script: YearScript,
    environ: dict[str, str],
    roles: dict[str, str],
    *,
    services: Services,
    gateway: Simulator,
    clock: YearClock,
    port: int,
    files: Path,
    watch: Callable[[Month], None],
) -> Played:
    """
    Play a year.

    Args:
        environ: The settings of all programs.
        roles: The addresses of Postgres by program; empty where all use the one of *environ*.
        clock: It stands at the beginning of the year.
        port: Of the web, where the gateway sends its notifications.
        files: For pre-notifications.
        watch: Called with each month that is over.
    """
    async with _subscribers(clock) as subscribers:
        year = _Year(script, environ, roles, services, gateway, clock, port, subscribers, watch)
        try:
            await year.start()
            return await year.play(files)
        finally:
            await year.stop()


@asynccontextmanager
async def _subscribers(clock: YearClock) -> AsyncIterator[dict[str, Receiver]]:
    async with serve(clock=clock) as books, serve(clock=clock) as portal:
        yield {"books": books, "portal": portal}


class _Year:
    def __init__(
        self,
        script: YearScript,
        environ: dict[str, str],
        roles: dict[str, str],
        services: Services,
        gateway: Simulator,
        clock: YearClock,
        port: int,
        subscribers: dict[str, Receiver],
        watch: Callable[[Month], None],
    ) -> None:
        self._script, self._environ, self._roles, self._services = script, environ, roles, services
        self._gateway, self._clock, self._port = gateway, clock, port
        self._subscribers, self._watch = subscribers, watch
        self._stack = AsyncExitStack()
        self._web: httpx.AsyncClient
        self._worker: YearWorker
        self._rng = random.Random(script.seed)
        self._ahead: list[tuple[date, int, StatusChange]] = []
        self._numbers = itertools.count()
        self._known: set[str] = set()
        self._month = Month(script.began_at.date().replace(day=1))
        self._reverified = 0
        self._resumed = 0

    # --- web and worker ---

    async def start(self) -> None:
        """Start web and worker with the current settings."""
        self._stack = AsyncExitStack()
        rng = random.Random(self._script.seed)
        worker = Settings.from_env(self._environ_of("tether-worker"))
        self._worker = await self._stack.enter_async_context(working(worker, clock=self._clock, rng=rng))
        web = Settings.from_env(self._environ_of("tether-web"))
        self._web = await self._stack.enter_async_context(serving(web, port=self._port, clock=self._clock))

    async def stop(self) -> None:
        """Stop both."""
        await self._stack.aclose()

    def _environ_of(self, program: str) -> dict[str, str]:
        address = self._roles.get(program)
        return self._environ | ({"DATABASE_URL": address} if address else {})

    # --- the year ---

    async def play(self, files: Path) -> Played:
        script = self._script
        await asyncio.to_thread(self._gateway.set_clock, self._clock())
        await asyncio.to_thread(self._gateway.faults, _FAULTS)
        await self._subscribe()
        await self._enrol(PLANS[0].name, script.members)
        await self._enrol(PLANS[1].name, script.tenants)
        enrolled_at = self._clock()
        await self._worker.until_quiet()
        day = bank_day(enrolled_at)
        while day < script.last_on:
            day += _DAY
            await self._day(day)
        await self._end()
        completeness = await self._completeness(day)
        await self._end()
        self._watch(self._month)
        return Played(
            script,
            enrolled_at,
            day + _DAY,
            await asyncio.to_thread(self._gateway.records),
            await asyncio.to_thread(self._gateway.sums),
            self._subscribers,
            self._reverified,
            completeness,
            self._resumed,
            files,
        )

    async def _day(self, day: date) -> None:
        if day.replace(day=1) != self._month.first_on:
            self._watch(self._month)
            self._month = Month(day.replace(day=1))
        began_at = midnight(day)
        if day == self._script.flushed_on and self._services.redis is not None:
            self._services.redis.flush()
            self._month.notes.append("Redis was emptied")
        await self._at(began_at)
        if not is_open(day):
            return
        if day == self._script.password_on:
            # The gateway signs with the new one; calls with the former one are still accepted.
            await asyncio.to_thread(self._gateway.passwords, [NEW_PASSWORD, PASSWORD])
            self._month.notes.append("the password was changed at the gateway, and not here")
        if day == self._script.outage_on:
            self._subscribers["portal"].fault = "503"
            self._month.notes.append("a subscriber went down for thirty hours")
        if reported := self._reported(day):
            await self._at(began_at + _MORNING, reported)
        if self._clock() >= midnight(self._script.outage_on) + _OUTAGE:
            self._subscribers["portal"].fault = self._now_and_then
        self._clock.move_to(max(began_at + _NOON, self._clock()))
        if await self._people(day):
            await self._worker.until_quiet()

    async def _people(self, day: date) -> bool:
        """Whether there was anything for a person to do."""
        is_corrected = day == self._script.corrected_on
        if is_corrected:
            await self._mend()
        return await self._resume() or is_corrected

    async def _at(self, at: datetime, changes: list[StatusChange] | None = None) -> None:
        """An event: the banks report changes, and the worker works."""
        self._clock.move_to(max(at, self._clock()))
        count = await asyncio.to_thread(self._gateway.set_clock, self._clock(), changes or [])
        await self._worker.until_quiet()
        if changes is None and count == len(self._known):
            return
        await self._look(await asyncio.to_thread(self._gateway.records))

    async def _look(self, records: list[dict[str, Any]]) -> None:
        """Let the banks decide about the debits that are new at the gateway."""
        for record in records:
            if record["unique_id"] in self._known:
                continue
            self._known.add(record["unique_id"])
            self._month.debits += 1
            taken_on = bank_day(datetime.fromisoformat(record["taken_at"]))
            for on, change in outcome(record, taken_on=taken_on, seed=self._script.seed):
                heapq.heappush(self._ahead, (on, next(self._numbers), change))

    def _reported(self, day: date) -> list[StatusChange]:
        """What the banks report on a day."""
        changes = list[StatusChange]()
        while self._ahead and self._ahead[0][0] <= day:
            changes.append(heapq.heappop(self._ahead)[2])
        self._month.reported.update(change.status for change in changes)
        return changes

    # --- people ---

    async def _subscribe(self) -> None:
        for name, receiver in self._subscribers.items():
            types = None if name == "books" else PORTAL_EVENTS
            answer = await self._post(
                "/api/subscribers", {"name": name, "url": receiver.url, "types": types, "after": 0}
            )
            receiver.secrets = [answer["secret"]]
        self._subscribers["portal"].fault = self._now_and_then

    def _now_and_then(self, _received: Received) -> str:
        return "500" if self._rng.random() < _FAILING else "ok"

    async def _enrol(self, name: str, payers: list[Payer]) -> None:
        """Upload a list, and give each debtor of it a schedule."""
        (plan,) = [plan for plan in PLANS if plan.name == name]
        lines = [
            "Name;IBAN;Amount",
            *(f"{row.name};{row.iban};{row.amount_minor / 100:.2f}" for row in payers),
        ]
        file = {"file": (f"{name.lower()}.csv", "\n".join(lines).encode())}
        upload = (await self._web.post("/api/uploads", files=file)).raise_for_status().json()
        await self._worker.until_quiet()
        read = (await self._web.get(f"/api/uploads/{upload['id']}")).raise_for_status().json()["upload"]
        if read["state"] != "completed":
            raise RuntimeError(f"the list of {name} was not read: {read['state']}")
        options = {**plan.options, "notice_days": plan.notice_days, "usage": name, "creditor_name": "Club"}
        added = await self._post("/api/collection-plans", {"name": name, "options": options})
        order = {
            "upload_id": upload["id"],
            "first_due_on": str(plan.first_due_on),
            "mandate_signed_on": str(bank_day(self._clock()) - _DAY),
        }
        enrolled = await self._post(f"/api/collection-plans/{added['id']}/schedules", order)
        if enrolled["enrolled"] != len(payers):
            raise RuntimeError(f"not all debtors of {name} got a schedule: {enrolled['verdicts']}")

    async def _resume(self) -> bool:
        """Resume what the auto-pause has paused; whether it was anything."""
        async with connection(self._worker.pool) as conn:
            paused = [row[0] for row in await (await conn.execute(_SQL["paused_runs"])).fetchall()]
        for run_id in paused:
            await self._post(f"/api/billing-runs/{run_id}/resume", None)
            self._resumed += 1
            self._month.notes.append("a person resumed a run that had too many returns")
        return bool(paused)

    async def _mend(self) -> None:
        """Configure the new password, restart, and take in what was refused."""
        await self.stop()
        self._environ = self._environ | {"EMP_API_PASSWORD": f"{NEW_PASSWORD},{PASSWORD}"}
        await self.start()
        taken = await self._post(
            "/api/quarantine/reverify", {"reason": "the password was changed at the gateway"}
        )
        self._reverified += taken["genuine"]
        self._month.notes.append(
            f"the password was corrected: {taken['genuine']} refused notifications taken in"
        )

    async def _post(self, path: str, content: object) -> dict[str, Any]:
        answer = await (self._web.post(path) if content is None else self._web.post(path, json=content))
        if not answer.is_success:
            raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text[:300]}")
        payload: dict[str, Any] = answer.json()
        return payload

    # --- the end ---

    async def _end(self) -> None:
        """Let hours pass until no event waits for a subscriber."""
        for _ in range(_ENDINGS_MAX):
            async with connection(self._worker.pool) as conn:
                row = await (await conn.execute(_SQL["waiting_deliveries"])).fetchone()
            assert row is not None
            if not row[0]:
                return
            await self._at(self._clock() + timedelta(hours=1))

    async def _completeness(self, last_on: date) -> dict[str, Any]:
        """Fetch the gateway's reports of all days, and compare."""
        first_on = self._script.began_at.date()
        days = [first_on + _DAY * number for number in range((last_on - first_on).days + 1)]
        # A day counts as read when its report was fetched after its end.
        await self._at(midnight(last_on + _DAY))
        await self._at(datetime.combine(last_on + _DAY, time(3), tzinfo=UTC))
        async with connection(self._worker.pool) as conn:
            await want(conn, ["default"], days, now=self._clock())
        await self._worker.until_quiet()
        found = Counter[str]()
        unread = 0
        for begin in range(0, len(days), 31):
            some = days[begin : begin + 31]
            answer = await self._web.get(
                "/api/completeness", params={"from": str(some[0]), "to": str(some[-1])}
            )
            report = answer.raise_for_status().json()["report"]
            found.update({name: report[name] for name in ("known", "by_webhook", "fetched", "unexplained")})
            unread += len(report["not_read"]) + len(report["awaited"])
        return {**found, "not_read": unread}
