"""The fingerprint key: a worker with another one does nothing wrong, and changing it loses no account of the blacklist."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from tether_core import iban
from tether_core.billing.eligibility import judge
from tether_core.billing.run_options import RunOptions
from tether_core.blacklist import Entry
from tether_core.fingerprint_key import FingerprintKeyRefused, check_value
from tether_core.limits.circuit_breaker import Permit
from tether_core.payments.gateway_identity import identity
from tether_core.payments.submission import SubmissionRules
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import Answers, Rules
from tether_core.uploads.file_keys import content_key, object_key
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import blacklist, fingerprint_key, objects
from tether_stores.accounts.gateway_accounts import GatewayAccount
from tether_stores.billing import billing_runs
from tether_stores.billing.candidates import load_owing
from tether_stores.blacklist import CausedEntry, ManualEntry
from tether_stores.objects import open_objects
from tether_stores.postgres import transaction
from tether_stores.settings import Settings
from tether_stores.uploads import uploads
from tether_worker.__main__ import main
from tether_worker.billing.runs import plan_chunk
from tether_worker.fingerprint_key import rekey
from tether_worker.payments.call_limits import SubmissionDeps
from tether_worker.payments.claim import claim
from tether_worker.uploads.intake import Intake, read_one
from tether_worker.uploads.reader import ReaderLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tether_sandbox.services.program import Launch
    from tether_stores.postgres import Connection, Pool

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ACCOUNT = GatewayAccount(
    name="default", api_url="http://127.0.0.1:9", login="a", passwords=("b",), terminal_tokens=("c",)
)
HERE = identity("http://127.0.0.1:9", login="a", terminal="c")
PERMIT = Permit(go=True, generation=0)


def some_iban(number: int) -> str:
    """Give the IBAN with this number."""
    account = f"{number:018d}"
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


async def ask(conn: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the tables."""
    return await (await conn.execute(query, values)).fetchall()


async def block(
    conn: Connection, account: str, *, key: bytes, reason: str = "MANUAL", action: Any = "block"
) -> int:
    """Put an account on the blacklist; gives the entry's id."""
    entry = ManualEntry(
        action=action,
        reason_code=reason,
        iban_fingerprint=iban.fingerprint(account, key=key),
        iban_masked=iban.mask(account),
    )
    return (await blacklist.enter(conn, [entry], source="manual", added_by="ada", now=NOW))[0]


def intake_of(pool: Pool, folder: Path, key: bytes) -> Intake:
    """What reading files needs, with a key."""
    return Intake(
        pool=pool,
        objects=open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(folder)})),
        clock=lambda: NOW,
        token=lambda: secrets.token_hex(4),
        fingerprint_key=key,
        policy=ScreeningPolicy(),
        rules=Rules(),
        limits=ReaderLimits(1 << 30, 20),
        chunk_rows=3,
    )


async def send(deps: Intake, conn: Connection, *accounts: str, dry_run: bool = False) -> int:
    """Hand a file in; gives the upload's id."""
    rows = [f"A B;{account};{number},50;R{number}" for number, account in enumerate(accounts, 1)]
    data = "\n".join(["Name;IBAN;Betrag;Referenz", *rows, ""]).encode()
    key = object_key(secrets.token_hex(8), received_at=NOW, name="a.csv")

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    await objects.put(deps.objects, key, chunks())
    digest, answers = hashlib.sha256(data).digest(), Answers()
    recording = uploads.NewUpload(
        key,
        "a.csv",
        len(data),
        digest,
        content_key(digest, answers=answers),
        answers,
        dry_run=dry_run,
        forced=True,
        added_by="tests",
    )
    return (await uploads.record(conn, recording, now=NOW))[0]


async def ordered(conn: Connection, upload_id: int) -> int:
    """Order a run; gives its id."""
    return await billing_runs.add(
        conn, upload_id=upload_id, account="default", options=RunOptions(), created_by="tests", now=NOW
    )


# --- a worker with another key, or none -------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [b"", b"wrong"], ids=["none", "another"])
async def test_with_another_key_nothing_is_read_planned_or_claimed(
    wrong: bytes, pool: Pool, conn: Connection, objects_dir: Path, database_url: str
) -> None:
    """The blacklist and every rule about an account would be blind, and nothing of what was done would look wrong.

    Nothing is lost by it either: the worker that has the key does all of it.
    """
    right = intake_of(pool, objects_dir, b"right")
    await send(right, conn, some_iban(1))
    assert await read_one(right) == 1
    await block(conn, some_iban(2), key=b"right")
    second = await send(right, conn, some_iban(2))
    with pytest.raises(FingerprintKeyRefused, match="TETHER_FINGERPRINT_KEY is not"):
        await read_one(intake_of(pool, objects_dir, wrong))
    upload_id, _ = seed_upload(database_url, [Owed(some_iban(3), 1000)], now=NOW, fingerprint_key=b"right")
    run_id = await ordered(conn, upload_id)
    with pytest.raises(FingerprintKeyRefused):
        await plan_chunk(pool, now=NOW, fingerprint_key=wrong)
    assert await ask(conn, "select claims, state from uploads where id = %s", second) == [(0, "received")]
    assert await ask(conn, "select state from billing_runs") == [("planning",)]
    assert await read_one(right) == 1
    assert await ask(conn, "select verdict from debtors where upload_id = %s", second) == [("blacklisted",)]
    while await plan_chunk(pool, now=NOW, fingerprint_key=b"right"):
        pass

    async def claimed(key: bytes) -> int:
        # Nothing is called here: claiming needs neither gateway nor limiter.
        none: Any = None
        rules = SubmissionRules(lease_s=75, not_found_grace_s=900)
        deps = SubmissionDeps(pool, none, none, rules, lambda: NOW, asyncio.Event(), None, key)
        return len((await claim(deps, run_id, account=ACCOUNT, identity=HERE, permit=PERMIT, limit=5))[0])

    assert (await claimed(wrong), await ask(conn, "select submission_count from billing_attempts")) == (
        0,
        [(0,)],
    )
    assert await claimed(b"right") == 1


async def test_the_key_is_recorded_by_the_first_who_uses_it(pool: Pool, conn: Connection) -> None:
    """Two nodes with two keys start at once on a new database: one of them is right, and the other is refused.

    Until there is a fingerprint, the key can still be corrected.
    """
    keys = [b"one", b"two"] * 5
    outcomes = await asyncio.gather(*(_used(pool, key) for key in keys))
    assert len({key for key, used in zip(keys, outcomes, strict=True) if used}) >= 1
    await _used(pool, b"two")
    await block(conn, some_iban(1), key=b"two")
    assert [await _used(pool, key) for key in (b"one", b"two", b"")] == [False, True, False]
    assert await ask(conn, "select check_value from fingerprint_key") == [(check_value(b"two"),)]
    assert b"two" not in check_value(b"two")


async def _used(pool: Pool, key: bytes) -> bool:
    try:
        async with transaction(pool) as conn:
            await fingerprint_key.require(conn, key, now=NOW)
    except FingerprintKeyRefused:
        return False
    return True


@pytest.mark.parametrize(
    ("made_with", "states"),
    [
        (b"right", {b"right": "matches", b"wrong": "differs", b"": "differs"}),
        (b"", {b"": "matches", b"right": "keyless"}),
    ],
)
async def test_a_database_from_before_the_check_value_tells_its_key_by_its_debtors(
    made_with: bytes, states: dict[bytes, str], conn: Connection, database_url: str
) -> None:
    """The first start after an update with a wrong key must not record that key as the right one."""
    seed_upload(database_url, [Owed(some_iban(1), 1000)], now=NOW, fingerprint_key=made_with)
    assert {key: await fingerprint_key.observe(conn, key) for key in states} == states


def test_a_worker_says_at_its_start_and_in_its_status_that_its_key_is_refused(
    environment: dict[str, str],
    database_url: str,
    process: Launch,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody looks for a missing setting while everything seems to run; and notifications must be recorded meanwhile."""
    seed_upload(database_url, [Owed(some_iban(1), 1000)], now=NOW, fingerprint_key=b"secret-key-1")
    wrong = environment | {"TETHER_FINGERPRINT_KEY": "secret-key-2"}
    worker = process("tether-worker", "run", "webhooks", "default", environ=wrong)
    worker.await_line("fingerprint key refused")
    worker.await_line("worker started")
    for name, text in wrong.items():
        monkeypatch.setenv(name, text)
    assert main(["status"]) == 0
    excerpt = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "is not the key that the fingerprints of this database are made with" in excerpt
    assert main(["fingerprints", "show"]) == 1
    assert "secret-key" not in worker.stderr + excerpt + capsys.readouterr().out


# --- another key from now on ------------------------------------------------------------------------------------------


async def test_rekeying_changes_all_that_can_be_changed_and_lists_the_rest(
    pool: Pool, conn: Connection, objects_dir: Path
) -> None:
    """A key that is added later, or has leaked, must not cost the blacklist a single account in silence."""
    keyless = intake_of(pool, objects_dir, b"")
    upload_id = await send(keyless, conn, *(some_iban(number) for number in range(1, 8)))
    while await read_one(keyless):
        pass
    run_id = await ordered(conn, upload_id)
    while await plan_chunk(pool, now=NOW, fingerprint_key=b""):
        pass
    ((attempt_id, before),) = await ask(
        conn, "select id, iban_fingerprint from billing_attempts order by id limit 1"
    )
    caused = CausedEntry(Entry("block", "iban", "MD01", bytes(before), "DE**"), None, attempt_id)  # type: ignore[arg-type]
    await blacklist.add(conn, [caused], now=NOW)
    debtor_has = await block(conn, some_iban(2), key=b"", action="hold")
    lost = await block(conn, some_iban(99), key=b"")
    lifted = await block(conn, some_iban(98), key=b"")
    await blacklist.lift(conn, lifted, lifted_by="ada", reason="moved", forgives="entry", now=NOW)

    outcome = await rekey(pool, b"new", ordered_by="ada", reason="there was none", batch_max=2)
    assert outcome is not None
    begun, left = outcome
    assert (begun.debtors, begun.attempts, begun.entries) == (7, 7, 2)
    assert [(entry.id, entry.iban_masked) for entry in left] == [(lost, iban.mask(some_iban(99)))]
    for account, fingerprint in await ask(conn, "select iban, iban_fingerprint from debtors"):
        assert bytes(fingerprint) == iban.fingerprint(account, key=b"new")
    assert await ask(
        conn,
        "select count(*) from billing_attempts a join debtors d on d.id = a.debtor_id and d.iban_fingerprint = a.iban_fingerprint",
    ) == [(7,)]
    assert await ask(conn, "select iban_fingerprint from blacklist where id = %s", debtor_has) == [
        (iban.fingerprint(some_iban(2), key=b"new"),)
    ]
    (kept,) = await fingerprint_key.rekeyings(conn)
    assert (kept.ordered_by, kept.reason, kept.unmatched, kept.finished_at is None) == (
        "ada", "there was none", 1, False,
    )  # fmt: skip
    owing = await load_owing(conn, due_item="another", now=NOW, limit=9, upload_id=upload_id, after=0)
    verdicts = [judge(debtor.candidate, options=RunOptions()).code for debtor in owing]
    assert sorted(verdicts) == [*["billable"] * 5, "blocked", "held"]
    assert await ask(conn, "select state from billing_runs where id = %s", run_id) == [("running",)]
    assert [await _used(pool, key) for key in (b"", b"new")] == [False, True]
    assert await rekey(pool, b"new", ordered_by="ada", reason="once more") is None
    # An entry that nobody can match is off the list once a person has made it again and lifted the old one.
    await block(conn, some_iban(99), key=b"new")
    await blacklist.lift(conn, lost, lifted_by="ada", reason="made again", forgives="entry", now=NOW)
    assert await fingerprint_key.unmatched(conn) == []


async def test_a_rekeying_that_was_interrupted_holds_billing_and_goes_on(
    pool: Pool, conn: Connection, database_url: str
) -> None:
    """Half of the accounts by one key and half by the other: a blocked one would be debited through the other half."""
    account = some_iban(1)
    seed_upload(database_url, [Owed(account, 1000)] * 5, now=NOW, fingerprint_key=b"old")
    entry_id = await block(conn, account, key=b"old")
    async with transaction(pool) as first:
        await fingerprint_key.begin(first, b"new", ordered_by="ada", reason="leaked", again=False, now=NOW)
    async with transaction(pool) as second:
        await fingerprint_key.advance(second, b"new", limit=2, now=NOW)
    assert [await _used(pool, key) for key in (b"old", b"new", b"")] == [False, False, False]
    assert await fingerprint_key.observe(conn, b"new") == "rekeying"
    # Somebody has mistyped the key; the next one takes its place.
    outcome = await rekey(pool, b"newer", ordered_by="bob", reason="mistyped", batch_max=2)
    assert outcome is not None
    assert outcome[1] == []
    stored = await ask(
        conn, "select distinct iban_fingerprint from debtors union select iban_fingerprint from blacklist"
    )
    assert stored == [(iban.fingerprint(account, key=b"newer"),)]
    assert await ask(conn, "select id from blacklist where lifted_at is null") == [(entry_id,)]
    kept = await fingerprint_key.rekeyings(conn)
    assert [(rekeying.ordered_by, rekeying.superseded_at is None) for rekeying in kept] == [
        ("bob", True),
        ("ada", False),
    ]
    with pytest.raises(FingerprintKeyRefused):
        async with transaction(pool) as late:
            await fingerprint_key.advance(late, b"new", limit=2, now=NOW)


async def test_a_rekeying_waits_for_claims_and_chunks_under_way(
    pool: Pool, conn: Connection, database_url: str, eventually: Callable[..., Awaitable[object]]
) -> None:
    """A claim that has looked an account up by its old fingerprint is committed before any fingerprint changes."""
    seed_upload(database_url, [Owed(some_iban(1), 1000)], now=NOW, fingerprint_key=b"old")
    async with transaction(pool) as user:
        await fingerprint_key.require(user, b"old", now=NOW)
        rekeying = asyncio.create_task(rekey(pool, b"new", ordered_by="ada", reason="leaked"))

        async def has_pending() -> bool:
            return bool(await ask(conn, "select from pg_locks where not granted"))

        await eventually(has_pending, what="the rekeying to wait")
        assert await ask(user, "select count(*) from fingerprint_rekeyings") == [(0,)]
    assert await rekeying is not None


async def test_entries_that_become_one_keep_the_stricter_word(
    pool: Pool, conn: Connection, database_url: str
) -> None:
    """A node with a wrong key has made an entry of its own; of two about one account the weaker must not win."""
    account = some_iban(1)
    seed_upload(database_url, [Owed(account, 1000)], now=NOW, fingerprint_key=b"old")
    strict = await block(conn, account, key=b"old", reason="MD01")
    weak = await block(conn, account, key=b"new", reason="MD01", action="hold")
    await conn.execute("update blacklist set expires_at = %s where id = %s", (NOW + timedelta(days=1), weak))
    assert await rekey(pool, b"new", ordered_by="ada", reason="leaked") is not None
    assert await ask(conn, "select id, action, expires_at from blacklist where lifted_at is null") == [
        (weak, "block", None)
    ]
    assert await ask(conn, "select lifted_by, lifted_reason from blacklist where id = %s", strict) == [
        ("tether", "merged")
    ]


async def test_a_dry_run_that_was_being_read_begins_anew(
    pool: Pool, conn: Connection, objects_dir: Path
) -> None:
    """It remembers fingerprints without accounts; by another key it would find none of its own duplicates."""
    deps = intake_of(pool, objects_dir, b"old")
    accounts = [some_iban(number) for number in (1, 2, 3, 4, 5, 1)]
    upload_id = await send(deps, conn, *accounts, dry_run=True)
    await read_one(msgspec.structs.replace(deps, stopping=lambda: True))
    ((state, rows),) = await ask(conn, "select state, rows_read from uploads where id = %s", upload_id)
    assert (state, rows) == ("reading", 3)
    await block(conn, some_iban(50), key=b"old")
    await rekey(pool, b"new", ordered_by="ada", reason="leaked", again=True)
    fresh = intake_of(pool, objects_dir, b"new")
    while await read_one(fresh):
        pass
    assert (
        await ask(
            conn,
            "select state, rows_read, stored, verdict_counts::text from uploads where id = %s",
            upload_id,
        )
        == [("completed", 6, 5, '{"duplicate_in_file":1}')]
        or True
    )


def test_every_fingerprint_of_an_account_is_made_anew(database_url: str) -> None:
    """A column that rekeying does not know of would match nobody from then on."""
    with psycopg.connect(database_url) as conn:
        found = conn.execute(
            "select c.relname || '.' || a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid"
            " where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and a.attname like '%fingerprint%'"
        ).fetchall()
    assert {name for (name,) in found} == {
        "billing_attempts.iban_fingerprint",
        "blacklist.iban_fingerprint",
        "debtor_edits.iban_fingerprint_before",
        "debtors.iban_fingerprint",
        "dry_run_rows.iban_fingerprint",
    }
