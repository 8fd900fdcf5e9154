"""Billing by API: what a person sees before, while and after a run."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core.emp.signature import sign
from tether_core.jobs import PLAN, SUBMIT
from tether_sandbox.gateway import scripted_iban
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import gateway_calls
from tether_stores.accounts.gateway_accounts import GatewayAccount, new_key, put
from tether_stores.gateway_calls import CallCounts
from tether_stores.limits import Limiter
from tether_stores.postgres import open_pool
from tether_stores.redis import open_redis
from tether_worker.billing.runs import plan_chunk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.web.conftest import Serve

KEY = {"Authorization": "Bearer test-key"}
NOW = datetime.now(UTC)
Upload = Any


@pytest.fixture
def gateway_environment(environment: dict[str, str]) -> dict[str, str]:
    """Settings with a gateway that could be called."""
    return environment | {"EMP_API_URL": "http://127.0.0.1:9"}


@pytest.fixture
async def api(serving: Serve, gateway_environment: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """A client that shows its key."""
    async with serving(gateway_environment) as client:
        client.headers.update(KEY)
        yield client


@pytest.fixture
def upload(database_url: str) -> Upload:
    """Make an upload of debtors; gives its id."""

    def make(*owed: Owed) -> int:
        return seed_upload(database_url, owed, now=NOW)[0]

    return make


async def plan(database_url: str) -> None:
    """Plan what is ordered, as the worker does."""
    async with open_pool(database_url, name="tests", max_size=1) as pool:
        while await plan_chunk(pool, now=datetime.now(UTC)):
            pass


def owed(count: int) -> list[Owed]:
    """Debtors who may be billed."""
    return [Owed(scripted_iban(number), 1000) for number in range(count)]


async def test_a_dry_run_tells_who_and_why_not_and_does_nothing(
    api: httpx.AsyncClient, upload: Upload, database_url: str
) -> None:
    """A person decides by it; were it to differ from the run, or to begin one, money would leave the wrong accounts."""
    upload_id = upload(*owed(3), Owed("TR330006100519786457841326", 500), Owed(scripted_iban(9), 5))
    order = {"dry_run": True, "count_max": 2, "canary_share": 1.0}
    answer = await api.post(f"/api/uploads/{upload_id}/billing", json=order, params={"limit": 3})
    assert answer.status_code == 200, answer.text
    payload = answer.json()
    assert (payload["count"], payload["amount_minor"], payload["canaries"]) == (2, 2000, 2)
    assert payload["skipped"] == {"count_cap": 1, "not_reachable": 1, "too_small": 1}
    assert [debtor["verdict"] for debtor in payload["debtors"]] == ["billable", "billable", "count_cap"]
    assert payload["debtors"][0]["iban_masked"] == "DE36**************0000"
    assert scripted_iban(0) not in answer.text
    rest = (
        await api.post(
            f"/api/uploads/{upload_id}/billing", json=order, params={"limit": 3, "cursor": payload["next"]}
        )
    ).json()
    assert [(debtor["verdict"], bool(debtor["text"])) for debtor in rest["debtors"]] == [
        ("not_reachable", True),
        ("too_small", True),
    ]
    assert (rest["next"], rest["count"]) == (None, 2)
    with psycopg.connect(database_url) as conn:
        assert conn.execute("select count(*) from billing_runs").fetchone() == (0,)


async def test_a_run_is_ordered_planned_and_watched(
    api: httpx.AsyncClient, upload: Upload, database_url: str, redis_url: str
) -> None:
    """What was ordered must be what is planned, and a person must find it again."""
    upload_id = upload(*owed(4), Owed(scripted_iban(9), 5))
    answer = await api.post(
        f"/api/uploads/{upload_id}/billing",
        json={"due_item": "2026-03", "usage": "March", "amount_max_minor": 3000},
    )
    assert answer.status_code == 202, answer.text
    run = answer.json()
    assert (run["state"], run["created_by"], run["options"]["usage"]) == ("planning", "tests", "March")
    assert answer.headers["location"] == f"/api/billing-runs/{run['id']}"
    async with open_redis(redis_url, name="tests", timeout_s=20) as cache:
        assert await cache.keys(f"saq:job:billing:{PLAN.name}:*")  # the worker was woken
    await plan(database_url)
    excerpt = (await api.get(answer.headers["location"])).json()
    assert (excerpt["run"]["state"], excerpt["run"]["count"], excerpt["run"]["amount_minor"]) == (
        "running",
        3,
        3000,
    )
    assert excerpt["run"]["skipped"] == {"amount_cap": 1, "too_small": 1}
    assert excerpt["steps"] == {"ready": {"count": 3, "amount_minor": 3000}}
    assert excerpt["states"] == {"pending": {"count": 3, "amount_minor": 3000}}
    assert excerpt["gateway"]["breaker"] == "closed"
    listed = (await api.get(f"/api/uploads/{upload_id}/billing")).json()
    assert [item["id"] for item in listed] == [run["id"]]


async def test_a_run_is_paused_resumed_and_cancelled(
    api: httpx.AsyncClient, upload: Upload, database_url: str, redis_url: str
) -> None:
    """Each is a person's word about money; a step that does not exist must not be taken quietly."""
    upload_id = upload(*owed(2))
    run_id = (await api.post(f"/api/uploads/{upload_id}/billing", json={})).json()["id"]
    await plan(database_url)
    at = f"/api/billing-runs/{run_id}"
    paused = await api.post(f"{at}/pause", json={"reason": "wrong list?"})
    assert (paused.status_code, paused.json()["state"], paused.json()["pause_reason"]) == (
        200,
        "paused",
        "wrong list?",
    )
    again = await api.post(f"{at}/pause", json={})
    assert (again.status_code, again.json()["code"]) == (409, "illegal_step")
    resumed = await api.post(f"{at}/resume")
    assert (resumed.json()["state"], resumed.json()["pause_reason"]) == ("running", None)
    async with open_redis(redis_url, name="tests", timeout_s=20) as cache:
        assert await cache.keys(f"saq:job:billing:{SUBMIT.name}:*")
    cancelled = await api.post(f"{at}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["finished_at"]
    assert (await api.post(f"{at}/resume")).status_code == 409


async def test_resuming_takes_what_the_auto_pause_shows_as_seen(
    api: httpx.AsyncClient, upload: Upload, database_url: str
) -> None:
    """Else a resumed run stops again within seconds, for debits a person has looked at."""
    upload_id = upload(*owed(40))
    run_id = (await api.post(f"/api/uploads/{upload_id}/billing", json={})).json()["id"]
    await plan(database_url)
    await api.post(f"/api/billing-runs/{run_id}/pause", json={})
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("update billing_attempts set payment_stage = 60, state = 'approved', submit_at = null")
        conn.execute(
            "update billing_attempts set dispute_stage = 1, state = 'chargebacked', reason_code = 'MD01' where id <= 20"
        )
        await api.post(f"/api/billing-runs/{run_id}/resume")
        assert conn.execute("select released_share from billing_runs").fetchone() == (0.5,)


async def test_refusals_are_released_by_a_person_with_a_reason(
    api: httpx.AsyncClient, upload: Upload, database_url: str
) -> None:
    """A corrected list must be able to go the same day; who let it go, and why, is read in the run."""
    upload_id = upload(*owed(2))
    at = f"/api/uploads/{upload_id}/billing/release"
    run_id = (await api.post(f"/api/uploads/{upload_id}/billing", json={})).json()["id"]
    assert (await api.post(at, json={"reason": "nothing to see"})).json() == []
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "insert into billing_run_counts (run_id, answered, refused, refused_at) values (%s, 30, 25, now())",
            [run_id],
        )
        for reason, status in (("", 400), ("   ", 422), ("a\x07b", 422), ("x" * 501, 400)):
            assert (await api.post(at, json={"reason": reason})).status_code == status
        assert conn.execute("select released_at from billing_run_counts").fetchone() == (None,)
        (released,) = (await api.post(at, json={"reason": "The terminal was wrong"})).json()
        assert (released["run_id"], released["answered"], released["refused"]) == (run_id, 30, 25)
        excerpt = (await api.get(f"/api/billing-runs/{run_id}")).json()["refusals"]
        assert excerpt == released
        assert (excerpt["released_by"], excerpt["released_reason"]) == ("tests", "The terminal was wrong")
        assert (await api.post(at, json={"reason": "again"})).json() == []
        # Who resumes a paused run has seen its refusals as well.
        conn.execute("update billing_run_counts set answered = 60, refused = 55")
        await api.post(f"/api/billing-runs/{run_id}/pause", json={})
        assert (await api.post(f"/api/billing-runs/{run_id}/resume")).status_code == 200
        seen = conn.execute(
            "select released_refused, released_by, released_reason from billing_run_counts"
        ).fetchone()
    assert seen == (55, "tests", f"Run {run_id} was resumed.")
    assert (await api.post("/api/uploads/999/billing/release", json={"reason": "x"})).status_code == 404


@pytest.mark.parametrize("way", ["resume", "release"])
@pytest.mark.parametrize("debtors", [1, 40])
async def test_who_resumes_a_run_accepts_small_runs_for_its_upload_alone(
    api: httpx.AsyncClient, upload: Upload, database_url: str, way: str, debtors: int
) -> None:
    """A resumed run would be paused again at once; and the parts of a wrong list that nobody has looked at must stay paused."""
    uploads = [upload(Owed(scripted_iban(number), 1000)) for number in range(6)]
    uploads.append(upload(*owed(debtors)))
    runs = [
        (await api.post(f"/api/uploads/{upload_id}/billing", json={})).json()["id"] for upload_id in uploads
    ]
    await plan(database_url)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "update billing_run_counts set answered = 9, refused = 9, refused_at = now(), first_answered_at = now()"
            " where run_id <= %s",
            [runs[5]],
        )
        await api.post(f"/api/billing-runs/{runs[6]}/pause", json={"reason": "the small runs"})
        if way == "resume":
            assert (await api.post(f"/api/billing-runs/{runs[6]}/resume")).status_code == 200
        else:
            answer = await api.post(
                f"/api/uploads/{uploads[6]}/billing/release", json={"reason": "looked at"}
            )
            assert answer.json() == []
        rows = conn.execute(
            "select run_id, released_refused, released_by, small_runs_accepted from billing_run_counts order by run_id"
        )
        assert rows.fetchall() == [
            *((run_id, 0, None, False) for run_id in runs[:6]),
            (runs[6], 0, None, True),
        ]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/uploads/999/billing", {}, 404),
        ("/api/uploads/1/billing", {"due_item": "März"}, 422),
        ("/api/uploads/1/billing", {"canary_share": 2}, 400),
        ("/api/uploads/1/billing", {"account": "nobody"}, 422),
        ("/api/uploads/1/billing", {"count_max": 0}, 400),
        ("/api/uploads/1/billing", {"cuont_max": 5}, 400),
        ("/api/billing-runs/999/pause", {}, 404),
        ("/api/billing-runs/999/resume", {}, 404),
    ],
)
async def test_what_cannot_be_had_is_refused(
    api: httpx.AsyncClient, upload: Upload, path: str, body: dict[str, Any], status: int
) -> None:
    """A misspelt cap that is passed over is no cap."""
    upload(*owed(1))
    answer = await api.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await api.get("/api/billing-runs/999")).status_code == 404
    assert (await api.get("/api/uploads/999/billing")).status_code == 404


_STRANGE = [
    b"",
    b"null",
    b"[]",
    b"7",
    b'"x"',
    b"{",
    b"\xff\xfe",
    b'{"usage": "\\ud800"}',
    b'{"usage": ""}',
    b'{"due_item": "\\u0000"}',
    b'{"due_item": "A B"}',
    b'{"due_item": null}',
    b'{"account": "\\u0000"}',
    b'{"account": "nobody"}',
    b'{"count_max": 0}',
    b'{"count_max": -1}',
    b'{"count_max": 1e400}',
    b'{"count_max": true}',
    b'{"amount_max_minor": 99999999999999999999999}',
    b'{"canary_share": 1.5}',
    b'{"canary_share": "NaN"}',
    b'{"canary_share": NaN}',
    b'{"tries_max": 99}',
    b'{"recent_days": 1e9}',
    b'{"remote_ip": "not one"}',
    b'{"dry_run": "yes"}',
    b'{"usage": "x", "usage": 7}',
    b'{"x":' * 2_000,
]


@pytest.mark.parametrize("body", _STRANGE)
@pytest.mark.parametrize("action", ["order", "pause"])
async def test_strange_bodies_get_a_sentence_and_change_nothing(
    api: httpx.AsyncClient, upload: Upload, database_url: str, action: str, body: bytes
) -> None:
    """An ignored field could bill or stop the wrong debits; a 500 would not say what to correct."""
    upload_id = upload(*owed(1))
    path = f"/api/uploads/{upload_id}/billing"
    if action == "pause":
        run = (await api.post(path, json={})).json()
        path = f"/api/billing-runs/{run['id']}/pause"
    answer = await api.post(path, content=body, headers={"content-type": "application/json"})
    if action == "order" or b"reason" in body:
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code < 500, answer.text
    with psycopg.connect(database_url) as conn:
        states = [state for (state,) in conn.execute("select state from billing_runs")]
    assert states == ([] if action == "order" else ["planning" if answer.status_code >= 400 else "paused"])


@pytest.mark.parametrize("reason", ["\x00", "\x1b[2J", "x" * 501, "", "  "])
async def test_reasons_that_cannot_be_shown_are_refused(
    api: httpx.AsyncClient, upload: Upload, reason: str
) -> None:
    """A NUL fails in the database, an escape sequence spoils the status that people read, and blanks say nothing."""
    run = (await api.post(f"/api/uploads/{upload(*owed(1))}/billing", json={})).json()
    answer = await api.post(f"/api/billing-runs/{run['id']}/pause", json={"reason": reason})
    assert answer.status_code in {400, 422}, answer.text
    assert (await api.get(f"/api/billing-runs/{run['id']}")).json()["run"]["state"] == "planning"


async def test_many_who_change_a_run_at_once_leave_it_in_one_state(
    api: httpx.AsyncClient, upload: Upload
) -> None:
    """Two people press pause and cancel at the same time: a cancelled run that goes on collects all the same."""
    run = (await api.post(f"/api/uploads/{upload(*owed(3))}/billing", json={})).json()
    steps = ["pause", "resume", "cancel", "pause", "cancel", "resume"]
    answers = await asyncio.gather(
        *(
            api.post(
                f"/api/billing-runs/{run['id']}/{step}", json={"reason": "x"} if step == "pause" else None
            )
            for step in steps * 3
        )
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert [
        answer.status_code for answer, step in zip(answers, steps * 3, strict=True) if step == "cancel"
    ].count(200) == 1
    assert (await api.get(f"/api/billing-runs/{run['id']}")).json()["run"]["state"] == "cancelled"
    for step in ("pause", "resume", "cancel"):
        again = await api.post(
            f"/api/billing-runs/{run['id']}/{step}", json={"reason": "x"} if step == "pause" else None
        )
        assert (again.status_code, again.json()["code"]) == (409, "illegal_step")


async def test_an_upload_that_is_not_read_to_its_end_is_not_billed(
    api: httpx.AsyncClient, upload: Upload, database_url: str
) -> None:
    """Half a file billed now and the rest never: its debtors come in while the run is planned."""
    upload_id = upload(*owed(1))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("update uploads set state = 'reading'")
        assert (await api.post(f"/api/uploads/{upload_id}/billing", json={})).status_code == 409
        conn.execute("update uploads set state = 'completed', dry_run = true")
        assert (await api.post(f"/api/uploads/{upload_id}/billing", json={})).status_code == 409


async def test_without_a_gateway_nothing_is_ordered(client: httpx.AsyncClient, upload: Upload) -> None:
    """A run that nobody can send would wait for ever, and its debtors could not be billed."""
    upload_id = upload(*owed(1))
    answer = await client.post(f"/api/uploads/{upload_id}/billing", json={}, headers=KEY)
    assert answer.status_code == 422
    assert "EMP_API_URL" in answer.json()["detail"]
    assert (await client.post(f"/api/uploads/{upload_id}/billing", json={})).status_code == 401


async def test_notifications_of_an_account_of_a_row_are_genuine(
    serving: Serve, gateway_environment: dict[str, str], database_url: str, eventually: Callable[..., Any]
) -> None:
    """An account added while the node runs would have all its notifications refused, and its debits would look lost."""
    key = new_key()
    second = GatewayAccount(
        name="second",
        api_url="https://gate.example",
        login="l",
        passwords=("second-password",),
        terminal_tokens=("t",),
        enabled=False,  # it sends nothing new; what it sent still lives
    )
    async with open_pool(database_url, name="tests", max_size=1) as pool, pool.connection() as conn:
        await put(conn, second, keys=[key], now=NOW)
    body = {"unique_id": "u-1", "signature": sign("u-1", secret="second-password"), "status": "approved"}
    async with serving(gateway_environment | {"TETHER_SECRETS_KEY": key}) as client:

        async def taken() -> bool:
            return (await client.post("/api/webhooks/emp", data=body)).status_code == 200

        await eventually(taken, what="the account to be known")
    with psycopg.connect(database_url) as books:
        assert books.execute("select account from webhook_events").fetchone() == ("second",)


async def test_metrics_show_breaker_and_limits(api: httpx.AsyncClient, redis_url: str) -> None:
    """An operator on call must see immediately that the gateway is not being called."""
    async with open_redis(redis_url, name="tests", timeout_s=20) as cache:
        limiter = Limiter(cache)
        permit = await limiter.admit("default")
        await limiter.report("default", permit, failed=[True] * 20)
        await limiter.slow_down("default", requested_s=60.0)
        for _ in range(2):
            counted = CallCounts(replaced={"before_response": 2}, not_submitted={"dns": 1})
            await gateway_calls.add(cache, {"default": counted})
    text = (await api.get("/metrics")).text
    assert 'tether_gateway_breaker{account="default",state="open"} 1.0' in text
    assert 'tether_gateway_breaker{account="default",state="closed"} 0.0' in text
    assert 'tether_gateway_rate_part{account="default"} 0.0' in text
    assert 'tether_gateway_connections_replaced{account="default",phase="before_response"} 4.0' in text
    assert 'tether_gateway_not_submitted{account="default",cause="dns"} 2.0' in text
