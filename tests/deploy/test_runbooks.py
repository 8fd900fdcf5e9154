"""What the runbook says to type is typed, against a real node: each look can be taken, and each deed ends what its alert fires on."""

from __future__ import annotations

import asyncio
import json
import random
import re
import secrets
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from tether_client.__main__ import main as tether
from tether_core.emp.notification import FORM
from tether_core.errors import StoreUnreachable
from tether_core.recurring.collection_plan import PlanOptions
from tether_core.retention.periods import Periods
from tether_core.testing import form_body
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.server import free_port
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores.accounts.gateway_accounts import new_key
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool, transaction
from tether_stores.recurring import collection_plans, enrolment, schedules
from tether_stores.settings import Settings
from tether_worker.__main__ import main as tether_worker
from tether_worker.recurring.due_items import make_due
from tether_worker.retention.archive import ArchiveDeps, archive_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tether_sandbox.services.program import Launch

PAGE = (Path(__file__).parents[2] / "docs/runbooks/alerts.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
NOW = datetime.now(UTC)
WHY = ["--reason", "the cause is removed"]
# What a command of the page takes from the situation: ids and days.
FURTHER = {
    "tether uploads show": ["1"],
    "tether runs show": ["1"],
    "tether deliveries show": ["1"],
    "tether pre-notifications list --status made --give-until": [str((NOW - timedelta(days=1)).date())],
}
# Commands that end by what they find: 0 for well and 1 for not, and 2 where there is no such row, which the page cannot know.
FOUND = frozenset({0, 1})


def _typed(alert: str, paragraph: str) -> list[str]:
    """The commands of a paragraph of an alert's section."""
    (text,) = re.findall(
        rf"^- \*\*{paragraph}\*\*:? (.*?)(?=^- \*\*|\Z)", SECTIONS[alert], re.MULTILINE | re.DOTALL
    )
    return [" ".join(words.split()) for words in re.findall(r"`(tether(?:-worker)? [^`]+)`", text)]


class World:
    """A node, its database, and a person at a terminal."""

    def __init__(
        self, environ: dict[str, str], api: httpx.Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.environ, self.api, self._capsys = environ, api, capsys

    def type(self, words: str, *more: str, code: frozenset[int] = frozenset({0})) -> str:
        """Type a command; gives what it writes."""
        program, *arguments = [*shlex.split(words), *more]
        try:
            ended = (
                tether(arguments, environ=self.environ) if program == "tether" else tether_worker(arguments)
            )
        except SystemExit as exc:
            ended = int(exc.code or 0)
        out, errors = self._capsys.readouterr()
        assert ended in code, f"{words} {more} ended with {ended}: {out}{errors}"
        assert "Traceback" not in errors
        return str(out)

    def do(self, alert: str, words: str, *more: str, code: frozenset[int] = frozenset({0})) -> str:
        """Type a command that the section of an alert has."""
        assert words in _typed(alert, "Look") + _typed(alert, "Do"), f"{alert} does not say {words}"
        return self.type(words, *more, code=code)

    def metric(self, series: str) -> float | None:
        """The value of a series now; `None` where it could not be read in time."""
        for line in self.api.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return None

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with psycopg.connect(self.environ["DATABASE_URL"], autocommit=True) as conn:
            cursor = conn.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def world(
    environment: dict[str, str],
    process: Launch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[World]:
    """A node without workers."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = environment | {"TETHER_SECRETS_KEY": new_key(), "EMP_API_URL": "http://127.0.0.1:1"}
    environ["TETHER_API_KEYS"] = "tests:test-key,second:second-key"
    process("tether-web", "--port", str(port), environ=environ).await_url(f"{url}/ready")
    for name, value in (environ | {"COLUMNS": "300"}).items():  # no cell is broken over lines
        monkeypatch.setenv(name, value)
    more = {"XDG_CONFIG_HOME": str(tmp_path), "TETHER_URL": url, "TETHER_API_KEY": "test-key"}
    headers = {"authorization": "Bearer test-key"}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as api:
        yield World(environ | more, api, capsys)


def test_the_runbook_ends_what_the_alerts_fire_on(
    world: World, process: Launch, until: Callable[..., Any]
) -> None:
    """Who follows the page at night types what it says. A command that is refused, or shows nothing of the trouble, leaves them alone with it."""
    url = world.environ["DATABASE_URL"]
    owed = [Owed(made_up_iban(random.Random(number)), 1_000) for number in range(2)]
    upload_id, _ = seed_upload(url, owed, now=NOW)
    order = {"due_item": "one", "usage": "Fee"}
    world.api.post(f"/api/uploads/{upload_id}/billing", json=order).raise_for_status()
    for number in (1, 2):
        subscriber = {"name": f"ledger-{number}", "url": "https://ledger.example/events"}
        world.api.post("/api/subscribers", json=subscriber).raise_for_status()
    world.ask(
        "insert into deliveries (subscriber_id, event_id, event_name, state, due_at, created_at)"
        " values (2, 1, 'run.created', 'waiting', now(), now())"
    )
    plan_id = asyncio.run(_late_plan(url, upload_id))
    body = form_body({"unique_id": "u-1", "status": "approved"}, secret="an old password")
    answer = world.api.post("/api/webhooks/emp", content=body, headers={"content-type": FORM})
    assert answer.status_code == 401

    for alert in SECTIONS:
        for words in _typed(alert, "Look"):
            world.type(words, *FURTHER.get(words, []), code=FOUND)
    _a_run_is_resumed(world, until)
    _a_queue_is_resumed(world, until)
    _missed_items_are_decided(world, until, plan_id=plan_id)
    _a_debtor_is_told(world, until, upload_id=upload_id)
    _a_subscriber_is_activated(world, until)
    _refused_notifications_are_taken_in(world)
    _a_stuck_archive_is_written(world, until, process)


def _ends(world: World, until: Callable[..., Any], series: str) -> None:
    until(lambda: world.metric(series) == 0, what=f"{series} to be 0")


def _begins(world: World, until: Callable[..., Any], series: str) -> None:
    until(lambda: (world.metric(series) or 0) > 0, what=f"{series} to be above 0")


def _a_run_is_resumed(world: World, until: Callable[..., Any]) -> None:
    series = 'tether_billing_runs{state="paused"}'
    world.type("tether runs pause 1", "--reason", "too many returns")
    _begins(world, until, series)
    assert "too many returns" in world.do("RunIsPaused", "tether runs list --status paused")
    world.do("RunIsPaused", "tether runs resume", "1")
    _ends(world, until, series)
    # It waits for a second person, who has a key of their own.
    series = "tether_billing_runs_awaiting_release"
    world.ask(
        "update billing_runs set state = 'paused', paused_from = state, pause_reason = 'dual_control', awaits_release = true"
    )
    _begins(world, until, series)
    assert "tests" in world.do("RunAwaitsRelease", "tether runs list --status paused")
    assert "awaits_release" in world.do("RunAwaitsRelease", "tether runs show", "1", "--json")
    world.environ["TETHER_API_KEY"] = "second-key"
    world.do("RunAwaitsRelease", "tether runs resume", "1")
    world.environ["TETHER_API_KEY"] = "test-key"
    _ends(world, until, series)


def _a_queue_is_resumed(world: World, until: Callable[..., Any]) -> None:
    series = 'tether_queue_paused{queue="vop"}'
    world.type("tether queues pause vop", "--reason", "the bank is closed")
    _begins(world, until, series)
    assert "the bank is closed" in world.do("QueueIsPaused", "tether-worker queues list")
    world.do("QueueIsPaused", "tether-worker queues resume", "vop")
    _ends(world, until, series)


def _missed_items_are_decided(world: World, until: Callable[..., Any], *, plan_id: int) -> None:
    series = 'tether_collection_late{step="recover"}'
    _begins(world, until, series)
    looked = "tether due-items list 4 --status missed"
    found = json.loads(world.do("DueItemsAreMissed", looked, "--json"))["items"]
    assert found
    assert {item["collection_plan_id"] for item in found} == {plan_id} == {4}
    ids = [str(item["id"]) for item in found]
    world.do("DueItemsAreMissed", "tether due-items recover", ids[0], "--yes", *WHY)
    for row_id in ids[1:]:
        world.do("DueItemsAreMissed", "tether due-items waive", row_id, "--yes", *WHY)
    assert "missed" not in world.type(looked)
    _ends(world, until, series)


def _a_debtor_is_told(world: World, until: Callable[..., Any], *, upload_id: int) -> None:
    series = 'tether_collection_late{step="notify"}'
    world.ask(
        "insert into pre_notifications (account, upload_id, debtor_id, due_item, due_on, give_on, notice_days, amount_minor, currency,"
        " text, state, created_at, updated_at) select 'default', upload_id, id, 'x', current_date + 10, current_date - 1, 14, 100, 'EUR',"
        " '', 'made', now(), now() from debtors where upload_id = %s limit 1",
        upload_id,
    )
    _begins(world, until, series)
    looked = "tether pre-notifications list --status made --give-until"
    found = json.loads(world.do("PreNotificationsAreOverdue", looked, *FURTHER[looked], "--json"))["items"]
    world.do("PreNotificationsAreOverdue", "tether pre-notifications give", str(found[0]["id"]), "--yes")
    _ends(world, until, series)


def _a_subscriber_is_activated(world: World, until: Callable[..., Any]) -> None:
    series = 'tether_subscribers{state="disabled"}'
    world.ask(
        "update subscribers set state = 'disabled', disabled_reason = 'failing', failing_since_at = now() where id = 2"
    )
    _begins(world, until, series)
    assert "disabled" in world.do("SubscriberIsDisabled", "tether subscribers list")
    world.do("SubscriberIsDisabled", "tether subscribers activate 2")
    _ends(world, until, series)


def _refused_notifications_are_taken_in(world: World) -> None:
    world.do("KnownDebitsAreRefused", "tether notifications reverify --dry-run")
    world.do("NotificationsAreRefused", "tether notifications reverify", *WHY)
    world.do("NotificationsAreRefused", "tether-worker fetch-reports")


def _a_stuck_archive_is_written(world: World, until: Callable[..., Any], process: Launch) -> None:
    series = 'tether_archive_oldest_seconds{step="confirm"}'
    asyncio.run(_begin_archive(world))
    world.ask("update archives set began_at = began_at - interval '3 days'")
    _begins(world, until, series)
    assert "not confirmed" in world.do("ArchivesAreStuck", "tether-worker archive list")
    world.do("ArchivesAreStuck", "tether-worker doctor", code=FOUND)
    process("tether-worker", "run", "default", environ=world.environ)
    _ends(world, until, series)
    until(
        lambda: "pruned" in world.do("ArchivesAreStuck", "tether-worker archive list"),
        what="the archive to be written and its row to be deleted",
    )


async def _begin_archive(world: World) -> None:
    """Begin to archive an old notification while the object store is away."""
    world.ask(
        "insert into webhook_events (key, content, account, kind, notification_id, status, source, content_type, body, state, outcome, failures,"
        " received_at, handled_at) select decode(md5('k'), 'hex'), decode(md5('k'), 'hex'), 'default', 'payment', 'u-0', 'approved', 'webhook', 'text/plain', 'b', 'processed', 'applied',"
        " 0, at, at from (select now() - interval '430 days' as at) given"
    )
    away = Settings(
        aws_bucket="away",
        aws_endpoint="http://127.0.0.1:1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    async with open_pool(world.environ["DATABASE_URL"], name="tests", max_size=2) as pool:
        deps = ArchiveDeps(
            pool, open_objects(away), Periods(), lambda: NOW, lambda: secrets.token_hex(8), lambda: False, 0.2
        )
        with pytest.raises(StoreUnreachable):
            await archive_once(deps, "notifications")


async def _late_plan(url: str, upload_id: int) -> int:
    """Plans, the last of which was paused while its debtors owed; gives its id."""
    async with open_pool(url, name="tests", max_size=2) as pool:
        async with transaction(pool) as conn:
            for number in range(1, 5):
                await collection_plans.add(
                    conn,
                    name=f"plan {number}",
                    account="default",
                    options=PlanOptions(notice_days=None),
                    created_by="tests",
                    now=NOW,
                )
            plan = await collection_plans.by_id(conn, 4)
            assert plan is not None
            await enrolment.enrol(
                conn,
                await schedules.applicants(conn, upload_id, after=0, limit=10),
                plan,
                first_due_on=(NOW - timedelta(days=40)).date(),
                last_due_on=None,
                signed_on=(NOW - timedelta(days=90)).date(),
                created_by="tests",
                now=NOW - timedelta(days=60),
            )
        while await make_due(pool, now=NOW):
            pass
    return plan.id
