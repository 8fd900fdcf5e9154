"""
A real Postgres that goes back while web and worker run: an old copy, a restore to a point in time, a standby that lagged.

The gateway took debits that the database has forgotten. Nobody may pay twice, what was never submitted must be, and a
notification that was acknowledged and comes again must be recorded.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_core.emp.notification import FORM
from tether_sandbox.gateway import Setup, Simulator, encode, running, sign
from tether_sandbox.services.postgres import Postgres
from tether_sandbox.services.server import free_port
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services.guard import Guard
    from tether_sandbox.services.program import Launch, Program

PLANNED, UNPLANNED, AFTERWARDS, HELD = 12, 8, 5, 6
AWAY = (psycopg.Error,)
ACCOUNTS = count(1)


class Stage:
    """A Postgres of this test's own, a copy of it, and the programs that go on through everything."""

    def __init__(self, folder: Path, *, guard: Guard) -> None:
        self.folder = folder
        self.guard = guard
        archive = folder / "archive"
        archive.mkdir(mode=0o777)
        archive.chmod(0o777)
        self.settings = {
            "archive_mode": "on",
            "archive_command": f"cp %p {archive}/%f.part && mv {archive}/%f.part {archive}/%f",
            "restore_command": f"cp {archive}/%f %p",
            "shared_buffers": "32MB",
            "recovery_target_timeline": "latest",
        }
        self.postgres = Postgres(_made(folder / "postgres"), guard=guard, settings=self.settings)
        self.copy = folder / "copy"

    def all(self, query: str) -> list[tuple[Any, ...]]:
        """Give the rows of a query, on a connection of its own: the server changes."""
        with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=30) as conn:
            return conn.execute(query).fetchall()

    def fetch_one(self, query: str) -> Any:
        """Give the one value of a query."""
        return self.all(query)[0][0]

    def execute(self, query: str, *values: object) -> None:
        """Execute a statement."""
        with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=30) as conn:
            conn.execute(query, values or None)

    def order(self, count: int, *, state: str = "planning") -> int:
        """Have some debtors billed; gives the run."""
        now = datetime.now(UTC)
        owed = [Owed(_iban(next(ACCOUNTS)), 1_000 + n) for n in range(count)]
        upload_id, _ = seed_upload(self.postgres.url, owed, now=now)
        why = ("a person", "planning") if state == "paused" else (None, None)
        self.execute(
            "insert into billing_runs (upload_id, account, due_item, state, options, skipped, created_by, created_at,"
            " updated_at, pause_reason, paused_from) values (%s, 'default', 'once', %s, %s, '{}', 'tests', %s, %s, %s, %s)",
            upload_id,
            state,
            b"{}",
            now,
            now,
            *why,
        )
        return int(self.fetch_one("select max(id) from billing_runs"))

    def plan(self, run_id: int) -> None:
        """Have the attempts of a run made, ready to be submitted."""
        self.execute(
            "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage,"
            " dispute_stage, iban_fingerprint, iban_masked, created_at, updated_at, run_id, due_item, try_number, submit_at)"
            " select 'default', d.id, 'tether-planned-' || d.id, d.amount_minor, d.currency, 'pending', 0, 0,"
            " d.iban_fingerprint, 'masked', r.created_at, r.created_at, r.id, r.due_item, 1, r.created_at"
            " from billing_runs r join debtors d on d.upload_id = r.upload_id where r.id = %s",
            run_id,
        )

    def time_passes(self) -> None:
        """Let everything that waits have waited, except for calls that are under way."""
        with psycopg.connect(self.postgres.url) as conn:
            conn.execute("lock table billing_attempts in exclusive mode")
            conn.execute(
                "update billing_attempts set submitted_at = submitted_at - interval '1 hour', submit_at = submit_at - interval '1 hour',"
                " updated_at = updated_at - interval '1 hour', inquire_at = inquire_at - interval '1 hour',"
                # The first answers "not found" are as old: a grace period runs on the machine's boot clock.
                " not_found = (select jsonb_agg(jsonb_set(one, '{at_s}', to_jsonb((one->>'at_s')::float8 - 3600)))"
                " from jsonb_array_elements(not_found) as one)"
                " where state in ('pending', 'unknown') and leased_until is null"
            )


def _iban(number: int) -> str:
    """Give an account of its own to each debtor: one account is not debited by two runs at once."""
    account = f"50010517{number:010d}"
    return f"DE{98 - int(f'{account}131400') % 97:02d}{account}"


def _later(at: datetime | None, after: datetime) -> datetime | None:
    return at if at is not None and at > after else None


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o711)
    return folder


# --- how a database goes back ---------------------------------------------------------------------------------------


class OldCopy:
    """A snapshot of the data directory, put back: the same system, the same timeline, an older position."""

    reason = "position behind"

    def remember(self, stage: Stage) -> None:
        stage.postgres.stop()
        stage.postgres.copy(to=stage.copy)
        stage.postgres.start()

    def go_back(self, stage: Stage) -> None:
        stage.postgres.kill()
        stage.postgres.put_back(stage.copy)
        stage.postgres.start()


class PointInTime:
    """A base backup and the archived log, restored to a point in time."""

    reason = "other timeline"

    def remember(self, stage: Stage) -> None:
        stage.postgres.base_backup(to=stage.copy)
        stage.all("select pg_create_restore_point('before')")
        stage.all("select pg_switch_wal()")

    def go_back(self, stage: Stage) -> None:
        stage.all("select pg_switch_wal()")
        stage.postgres.kill()
        stage.postgres.put_back(stage.copy)
        (stage.postgres.data / "recovery.signal").touch()
        stage.settings |= {"recovery_target_name": "before", "recovery_target_action": "promote"}
        stage.postgres.start()


class LaggingStandby:
    """A standby that followed until some time ago, and takes over at the address of its primary."""

    reason = "other timeline"

    def remember(self, stage: Stage) -> None:
        folder = _made(stage.folder / "standby")
        self.standby = Postgres(folder, guard=stage.guard, settings=dict(stage.settings))
        stage.postgres.base_backup(to=self.standby.data, standby=True)
        shutil.copy2(stage.postgres.folder / "password", folder / "password")
        # Neither the primary nor the archive reaches it from here on; what it has received is all it has.
        self.standby._settings = {
            **stage.settings,
            "restore_command": "",
            "primary_conninfo": stage.postgres.url,
        }
        self.standby.start()
        marked = stage.fetch_one("select pg_current_wal_flush_lsn()")
        with psycopg.connect(self.standby.url, autocommit=True) as conn:
            while not conn.execute("select pg_last_wal_replay_lsn() >= %s", (marked,)).fetchone()[0]:  # type: ignore[index]
                pass
        self.standby.stop()

    def go_back(self, stage: Stage) -> None:
        stage.postgres.kill()
        self.standby._port, stage.postgres = stage.postgres.port, self.standby
        stage.postgres.start()
        stage.all("select pg_promote()")


@pytest.fixture
def stage(guard: Guard) -> Iterator[Stage]:
    """A Postgres of this test's own, migrated."""
    folder = Path(tempfile.mkdtemp(prefix="tether-back-", dir="/tmp"))
    folder.chmod(0o711)
    guard.remove(folder)
    made = Stage(folder, guard=guard)
    made.postgres.start()
    try:
        migrate(made.postgres.url, now=datetime.now(UTC))
        yield made
    finally:
        made.postgres.drop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def environ(environment: dict[str, str], stage: Stage) -> dict[str, str]:
    """Settings of the programs: that Postgres, and the Redis and objects of the other tests."""
    return {
        **environment,
        "DATABASE_URL": stage.postgres.url,
        "DATABASE_DIRECT_URL": stage.postgres.url,
        "EMP_TIMEOUT": "5",
        "EMP_RATE_LIMIT": "200",
        "RECONCILIATION_RATE_LIMIT": "500",
        "EMP_CONFIRM": "off",
    }


@pytest.fixture
def port() -> int:
    """Where the web node listens."""
    return free_port()


@pytest.fixture
def simulator(environ: dict[str, str], port: int) -> Iterator[Simulator]:
    """A gateway that takes a second debit under the same id; it does not help anybody."""
    setup = Setup(
        login=environ["EMP_API_LOGIN"],
        passwords=(environ["EMP_API_PASSWORD"],),
        terminals=(environ["EMP_TERMINAL_TOKEN"],),
        notify_url=f"http://127.0.0.1:{port}/api/webhooks/emp",
        result_after_s=0.1,
    )
    with running(setup) as item:
        yield item


@pytest.mark.parametrize("way", [OldCopy, PointInTime, LaggingStandby])
def test_nobody_pays_twice_and_nothing_is_forgotten(
    way: type[OldCopy | PointInTime | LaggingStandby],
    stage: Stage,
    environ: dict[str, str],
    port: int,
    simulator: Simulator,
    process: Launch,
    until: Callable[..., Any],
) -> None:
    """
    Debits that the lost history submitted look ready, or as if they had never been planned.

    Submitted again, the debtor pays twice. One that was never submitted has to be, or the money is lost; and a
    notification that was acknowledged, and comes again, must not be taken for known.
    """
    environ["EMP_API_URL"] = simulator.url
    web = process("tether-web", "--port", str(port), environ=environ)
    web.await_url(f"http://127.0.0.1:{port}/ready")
    worker = process("tether-worker", "run", "billing", "webhooks", "reconciliation", environ=environ)
    worker.await_line('"worker started"')
    until(
        lambda: stage.fetch_one("select count(*) from database_epochs where pulse > 0"),
        what="a pulse",
        despite=AWAY,
    )

    # What the copy holds: debits that are ready, a run that is to be planned, and debits that a person holds back.
    worker.signal(signal.SIGSTOP)
    planned = stage.order(PLANNED, state="paused")
    stage.plan(planned)
    held = stage.order(HELD, state="paused")
    stage.plan(held)
    stage.order(UNPLANNED)
    stage.execute(
        "update billing_runs set state = 'running', pause_reason = null, paused_from = null where id = %s",
        planned,
    )
    back = way()
    back.remember(stage)
    stage.order(AFTERWARDS)
    worker.signal(signal.SIGCONT)

    lost = PLANNED + UNPLANNED + AFTERWARDS
    applied = "select count(*) from webhook_events where state = 'processed'"
    until(
        lambda: stage.fetch_one(applied) >= lost,
        what="all to be submitted and their results applied",
        despite=AWAY,
    )
    assert len(simulator.records()) == lost
    acknowledged = stage.all("select body from webhook_events where source = 'webhook' order by id limit 1")[
        0
    ][0]
    # The newest mark is half a second old at most; the history that is lost shall be longer than that.
    pulse = stage.fetch_one("select max(pulse) from database_epochs")
    until(
        lambda: stage.fetch_one("select max(pulse) from database_epochs") > pulse + 1,
        what="marks",
        despite=AWAY,
    )

    back.go_back(stage)
    until(
        lambda: stage.fetch_one(
            "select count(*) from database_epochs where number > 1 and reviewed_at is not null"
        ),
        what="the loss to be noticed and the review to end",
        despite=AWAY,
    )
    assert stage.all("select number, reason from database_epochs order by number") == [
        (1, "first"),
        (2, back.reason),
    ]
    assert sum(program.stderr.count("the database went back; ") for program in (web, worker)) == 1
    assert stage.fetch_one("select submissions from database_epochs where number = 2") >= PLANNED + HELD

    # The gateway repeats what was acknowledged.
    def is_recorded() -> bool:
        return (acknowledged,) in stage.all("select body from webhook_events where source = 'webhook'")

    answer = httpx.post(
        f"http://127.0.0.1:{port}/api/webhooks/emp",
        content=acknowledged,
        headers={"content-type": FORM},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == 200
    until(is_recorded, what="the repeat to be recorded")

    stage.execute(
        "update billing_runs set state = 'running', pause_reason = null, paused_from = null where id = %s",
        held,
    )
    known = PLANNED + UNPLANNED + HELD

    def ended() -> bool:
        if stage.fetch_one("select count(*) from billing_attempts where payment_stage >= 20") == known:
            return True
        if not stage.fetch_one(
            "select count(*) from billing_attempts where leased_until is not null or submit_at is not null"
        ):
            stage.time_passes()
        return False

    until(ended, what="every debit to end", timeout_s=120, despite=AWAY)
    sums = simulator.sums()
    assert sums["debited_twice"] == []
    assert len(simulator.records()) == lost + HELD
    assert stage.fetch_one("select count(*) from billing_attempts") == known
    until(
        lambda: stage.fetch_one("select count(*) from report_fetches"),
        what="the lists of the lost days to be wanted",
        despite=AWAY,
    )
    assert worker.returncode is None
    assert web.returncode is None


@pytest.mark.parametrize("is_noticed", [False, True])
def test_a_repeat_of_a_lost_notification_is_recorded(
    stage: Stage,
    environ: dict[str, str],
    port: int,
    process: Launch,
    until: Callable[..., Any],
    *,
    is_noticed: bool,
) -> None:
    """
    A web node alone, its Redis full of marks: what it acknowledged is gone, and comes again.

    The copy is put back within the second for which a probe counts. Where no probe came between the commits and the loss, their
    loss cannot be noticed at all; a repeat has to be recorded even so.
    """
    web = process("tether-web", "--port", str(port), environ=environ)
    web.await_url(f"http://127.0.0.1:{port}/ready")
    until(lambda: stage.fetch_one("select count(*) from database_epochs"), what="an epoch", despite=AWAY)
    back = OldCopy()
    back.remember(stage)
    web.await_url(f"http://127.0.0.1:{port}/ready")

    def deliver(name: str) -> int:
        fields = {
            "unique_id": name,
            "status": "approved",
            "signature": sign(name, password=environ["EMP_API_PASSWORD"]),
        }
        with contextlib.suppress(httpx.TransportError):
            return httpx.post(
                f"http://127.0.0.1:{port}/api/webhooks/emp",
                content=encode(fields),
                headers={"content-type": FORM},
                trust_env=False,
                timeout=60,
            ).status_code
        return 0

    names = [f"lost-{n}" for n in range(40)]
    assert {deliver(name) for name in names} == {200}
    # Known by now: a repeat is answered from the marks.
    assert deliver(names[0]) == 200
    if is_noticed:
        # The second probe from here on has read all of what it compares afterwards. Each ends with this query.
        probed = (
            "select max(query_start) from pg_stat_activity where application_name = 'tether-web'"
            " and query like '%pg_relation_filenode%' and state = 'idle'"
        )
        seen_at = stage.fetch_one("select clock_timestamp()")
        for _ in range(2):
            seen_at = until(lambda after=seen_at: _later(stage.fetch_one(probed), after), what="a probe")
    back.go_back(stage)
    answered = {name: until(lambda name=name: deliver(name) == 200, what="an answer") for name in names}
    assert len(answered) == len(names)

    def recorded() -> set[str]:
        return {name for (name,) in stage.all("select notification_id from webhook_events")}

    # An answer is given after its commit: nothing is to be waited for.
    assert set(names) - recorded() == set(), web.stderr
    if is_noticed:
        until(
            lambda: (
                stage.all("select number, reason from database_epochs order by number")
                == [(1, "first"), (2, back.reason)]
            ),
            what="the loss to be noticed",
            despite=AWAY,
        )


def test_a_worker_that_starts_afterwards_notices_too(
    stage: Stage, environ: dict[str, str], simulator: Simulator, process: Launch, until: Callable[..., Any]
) -> None:
    """All programs are stopped for a restore as a rule: nobody is left who remembers, but Redis does."""
    environ["EMP_API_URL"] = simulator.url

    def work() -> Program:
        worker = process("tether-worker", "run", "billing", "webhooks", "reconciliation", environ=environ)
        worker.await_line('"worker started"')
        return worker

    worker = work()
    until(
        lambda: stage.fetch_one("select count(*) from database_epochs where pulse > 0"),
        what="a pulse",
        despite=AWAY,
    )
    run_id = stage.order(PLANNED, state="paused")
    stage.plan(run_id)
    back = OldCopy()
    back.remember(stage)
    resume = (
        "update billing_runs set state = 'running', pause_reason = null, paused_from = null where id = %s"
    )
    stage.execute(resume, run_id)
    until(lambda: len(simulator.records()) == PLANNED, what="all to be submitted", despite=AWAY)
    pulse = stage.fetch_one("select max(pulse) from database_epochs")
    until(
        lambda: stage.fetch_one("select max(pulse) from database_epochs") > pulse + 1,
        what="marks",
        despite=AWAY,
    )
    assert worker.terminate() == 0
    back.go_back(stage)
    stage.execute(resume, run_id)
    work()
    until(
        lambda: stage.fetch_one(
            "select count(*) from database_epochs where number = 2 and reviewed_at is not null"
        ),
        what="the loss to be noticed",
        despite=AWAY,
    )
    assert stage.fetch_one("select count(*) from billing_attempts where state = 'unknown'") == PLANNED
    assert len(simulator.records()) == PLANNED
