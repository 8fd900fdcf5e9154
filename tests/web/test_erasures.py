"""The dossier of a person has everything, and an erasure leaves nothing of it: in no table, no file, no archive."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import secrets
import zipfile
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
import psycopg
import pytest
from tether_core import iban as ibans
from tether_core.retention.periods import Periods
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import Rules
from tether_stores.objects import open_objects
from tether_stores.postgres import open_pool
from tether_stores.queries import load
from tether_stores.settings import Settings
from tether_worker.__main__ import main
from tether_worker.erasures.erase import ErasureDeps, apply_list, erase_late, erase_once
from tether_worker.retention.archive import ArchiveDeps, archive_once
from tether_worker.uploads.intake import Intake, read_one
from tether_worker.uploads.reader import ReaderLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx
    from tether_stores.objects import Objects
    from tether_stores.postgres import Pool

    from tests.web.conftest import Serve

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=500)
IBAN, FORMER, OTHER = "NL91ABNA0417164300", "DE89370400440532013000", "AT611904300234573201"
NAME, EMAIL = "Adalbert Quittenbaum", "adalbert@quitte.example"
# What is searched for in every table and object: each of them must have been somewhere.
PERSONAL = (
    IBAN, FORMER, "NL91 ABNA 0417 1643 00", "370400440532013000", NAME, "Quittenbaum", EMAIL, "Kundennr-4711", "MANDAT-4711", "Rechnung-4711",
    "Obstallee 17b", "+49 30 4711 4712", "Quittung an Quittenbaum",
)  # fmt: skip
HEADERS = "Name;IBAN;Betrag;E-Mail;Verwendungszweck;Mandatsreferenz;Kundennummer;Straße;Telefon\n"
ROW = (
    f"{NAME};{FORMER};12,50;{EMAIL};Rechnung-4711;MANDAT-4711;Kundennr-4711;Obstallee 17b;+49 30 4711 4712\n"
)
FILE = (
    HEADERS
    + ROW
    + f"Berta Birne;{OTHER};7,00;;Rechnung-1;M-1;K-1;;\n"
    + "Niemand;NL91 ABNA 0417 1643 00;keiner;;;;;;\n"
)
FORM = "application/x-www-form-urlencoded"


class World:
    """The API, a worker's hands, and a person who is everywhere."""

    def __init__(self, api: httpx.AsyncClient, url: str, pool: Pool, store: Objects, folder: Path) -> None:
        self.api, self.url, self.pool, self.store, self.folder = api, url, pool, store, folder
        self.erasing = ErasureDeps(pool, store, lambda: NOW, lambda: secrets.token_hex(8), lambda: False)
        self.debtor_id = self.attempt_id = 0

    def ask(self, query: str, *values: Any) -> list[Any]:
        """Ask the database."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            cursor = conn.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def add(self, table: str, **values: Any) -> Any:
        """Add a row; gives its first column."""
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        return self.ask(f"insert into {table} ({names}) values ({places}) returning *", *values.values())[0][
            0
        ]

    async def upload(self, content: str, **fields: str) -> int:
        """Send a file in, and read it."""
        answer = await self.api.post(
            "/api/uploads", files={"file": ("rows.csv", content.encode())}, data=fields
        )
        assert answer.is_success, answer.text
        intake = Intake(
            pool=self.pool, objects=self.store, clock=lambda: datetime.now(UTC) + timedelta(minutes=1), token=lambda: secrets.token_hex(8), fingerprint_key=b"",
            policy=ScreeningPolicy(), rules=Rules(), limits=ReaderLimits(1 << 30, 60),
        )  # fmt: skip
        while await read_one(intake):
            pass
        return int(answer.json()["id"])

    def notify(self, unique_id: str, status: str, *, at: datetime) -> int:
        """Store a notification that was applied at that time."""
        body = urlencode(
            {
                "unique_id": unique_id, "signature": "ab" * 20, "status": status, "amount": "1250", "currency": "EUR",
                "bank_account_number": FORMER, "first_name": "Adalbert", "last_name": "Quittenbaum", "customer_email": EMAIL,
            }
        ).encode()  # fmt: skip
        key = secrets.token_bytes(16)
        return int(
            self.add(
                "webhook_events", key=key, content=key, account="default", kind="payment", notification_id=unique_id, status=status,
                source="webhook", content_type=FORM, body=body, state="processed", outcome="applied", failures=0,
                attempt_id=self.attempt_id, received_at=at, handled_at=at,
            )
        )  # fmt: skip

    async def archived(self) -> int:
        """Move old notifications to the archive."""
        deps = ArchiveDeps(
            self.pool, self.store, Periods(), lambda: NOW, lambda: secrets.token_hex(8), lambda: False, 1.0
        )
        return await archive_once(deps, "notifications")

    def found(self, *values: str) -> list[str]:
        """Where one of some values still stands: tables and objects."""
        tables = self.ask(
            "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') order by 1"
        )
        places = []
        for (table,) in tables:
            rows = " ".join(row for (row,) in self.ask(f"select t::text from {table} t"))
            places += [
                f"{value} in {table}"
                for value in values
                if value.lower() in rows.lower() or value.encode().hex() in rows
            ]
        for path in self.folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                data = gzip.decompress(data) if path.suffix == ".gz" else data
                places += [
                    f"{value} in {path.relative_to(self.folder)}"
                    for value in values
                    if value.encode().lower() in data.lower() or value.encode().hex().encode() in data
                ]
        return places

    async def erase(self, **body: Any) -> httpx.Response:
        """Order the erasure of the debtor as it is previewed."""
        preview = (await self.api.get(f"/api/debtors/{self.debtor_id}/erasure")).json()
        known = {"debtor_ids": preview["debtor_ids"], "reason": "asked by letter", **body}
        return await self.api.post(f"/api/debtors/{self.debtor_id}/erasure", json=known)


@pytest.fixture
async def world(
    serving: Serve, environment: dict[str, str], database_url: str, objects_dir: Path
) -> AsyncIterator[World]:
    """An upload with a person, a debit of 500 days ago with a refund, and everything about them."""
    async with (
        serving({**environment, "EMP_API_URL": "https://gateway.invalid"}) as client,
        open_pool(database_url, name="tests", max_size=4) as pool,
    ):
        client.headers["Authorization"] = "Bearer test-key"
        made = World(client, database_url, pool, open_objects(Settings.from_env(environment)), objects_dir)
        upload_id = await made.upload(FILE)
        await made.upload(FILE, dry_run="true")
        ((made.debtor_id,),) = made.ask("select id from debtors where name = %s", NAME)
        edited = await client.patch(
            f"/api/debtors/{made.debtor_id}",
            json={"version": 0, "reason": "new account", "changes": {"iban": IBAN}},
        )
        assert edited.is_success, edited.text
        _fill(made, upload_id)
        yield made


def _fill(world: World, upload_id: int) -> None:
    debtor_id = world.debtor_id
    world.ask("update debtors set created_at = %s where id = %s", LONG_AGO, debtor_id)
    run_id = world.add(
        "billing_runs", upload_id=upload_id, account="default", due_item="once", state="finished", options=b"{}", skipped=b"{}",
        created_by="ops", created_at=LONG_AGO, updated_at=LONG_AGO, finished_at=LONG_AGO,
    )  # fmt: skip
    world.attempt_id = attempt_id = world.add(
        "billing_attempts", account="default", debtor_id=debtor_id, transaction_id="t-1", unique_id="u-1", amount_minor=1250, currency="EUR",
        state="refunded", payment_stage=80, dispute_stage=0, iban_fingerprint=ibans.fingerprint(FORMER), iban_masked=ibans.mask(FORMER),
        created_at=LONG_AGO, updated_at=LONG_AGO, run_id=run_id, due_item="once", try_number=1, submitted_at=LONG_AGO, submission_count=1,
    )  # fmt: skip
    world.add(
        "refunds", attempt_id=attempt_id, kind="refund", number=1, account="default", transaction_id="t-r", unique_id="u-r", amount_minor=1250,
        currency="EUR", usage="Quittung an Quittenbaum", state="refunded", payment_stage=80, ordered_by="ops", created_at=LONG_AGO,
        updated_at=LONG_AGO,
    )  # fmt: skip
    world.add(
        "mandates", account="default", debtor_id=debtor_id, reference="MANDAT-4711", reference_key="mandat-4711", kind="one_off",
        state="cancelled", iban_masked=ibans.mask(FORMER), signed_on=LONG_AGO.date(), account_since_at=LONG_AGO, ended_at=LONG_AGO,
        ended_reason="used", created_by="ops", created_at=LONG_AGO, updated_at=LONG_AGO,
    )  # fmt: skip
    for state in ("given", "made"):
        world.add(
            "pre_notifications", account="default", upload_id=upload_id, debtor_id=debtor_id, due_item=state, due_on=LONG_AGO.date(),
            give_on=LONG_AGO.date(), notice_days=1, amount_minor=1250, currency="EUR", text=f"{NAME}, {FORMER}", state=state,
            given_at=LONG_AGO if state == "given" else None, given_by="files" if state == "given" else None, created_at=LONG_AGO,
            updated_at=LONG_AGO,
        )  # fmt: skip
    world.ask(
        "insert into vop_checks (debtor_id, state, result, score, answered, bank_name, requested_at) values (%s, 'checked', 'verified', 9, 9, %s, %s)"
        " on conflict (debtor_id) do update set bank_name = excluded.bank_name",
        debtor_id, NAME, NOW,
    )  # fmt: skip
    world.add(
        "blacklist", iban_fingerprint=ibans.fingerprint(FORMER), iban_masked=ibans.mask(FORMER), action="block", scope="iban",
        reason_code="MD06", note=f"{NAME} called", source="manual", added_by="ops", attempt_id=attempt_id, created_at=LONG_AGO,
    )  # fmt: skip
    world.add(
        "blacklist", email=EMAIL, action="hold", scope="email", reason_code="manual", note="", source="manual", added_by="ops",
        created_at=LONG_AGO, lifted_at=NOW, lifted_by="ops", lifted_reason=f"not {NAME}",
    )  # fmt: skip
    world.add(
        "stated_outcomes",
        attempt_id=attempt_id,
        outcome="approved",
        unique_id="u-1",
        reason=f"{NAME} paid",
        stated_by="ops",
        stated_at=LONG_AGO,
    )
    world.add(
        "quarantined_notifications", digest=b"x", account="default", notification_id="u-1", report_class="", attempt_id=attempt_id,
        sealed=b"sealed", size_bytes=6, deliveries=1, received_at=NOW, last_received_at=NOW,
    )  # fmt: skip
    world.notify("u-1", "approved", at=LONG_AGO)
    world.notify("u-r", "refunded", at=LONG_AGO)
    world.notify("u-1", "refunded", at=NOW - timedelta(days=3))


async def test_a_dossier_has_all_of_a_person_and_nothing_of_another(world: World) -> None:
    """A bank is answered late, or a person is told half of what is stored; or one debtor reads the account of another."""
    assert await world.archived() == 2
    answer = await world.api.post(
        f"/api/debtors/{world.debtor_id}/dossier", json={"reason": f"inquiry of the bank, {FORMER}"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    assert f'filename="debtor-{world.debtor_id}-{NOW:%Y-%m-%d}.zip"' in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        found = json.loads(file.read("dossier.json"))
        page, schema = file.read("dossier.html").decode(), json.loads(file.read("schema.json"))
    assert found["format"] == "tether-dossier/1"
    assert found["unread"] == []
    (row,) = found["rows"]
    assert (row["iban"], row["former_ibans"], row["edits"][0]["reason"]) == (IBAN, [FORMER], "new account")
    assert row["debtor"]["mandate_id"] == "MANDAT-4711"
    assert row["check"]["result"] == "verified"
    (history,) = found["payments"]
    assert (history["payment"]["state"], history["refunds"][0]["usage"]) == (
        "refunded",
        "Quittung an Quittenbaum",
    )
    heard = history["notifications"]
    assert [item["status"] for item in heard] == ["approved", "refunded", "refunded"]
    assert [item["archive_id"] for item in heard] == [1, 1, None]
    assert heard[0]["fields"]["bank_account_number"] == FORMER
    assert [item["text"] for item in found["pre_notifications"]] == [f"{NAME}, {FORMER}"] * 2
    assert [entry["action"] for entry in found["blacklist"]] == ["block", "hold"]
    assert found["mandates"][0]["reference"] == "MANDAT-4711"
    assert [action["action"] for action in found["actions"]] == ["debtor.edited"]
    assert set(schema["$defs"]["Dossier"]["required"]) == set(found)
    # A signature is valid for ever: its holder could send statuses of the payment.
    assert "abababab" not in answer.text
    assert "abababab" not in page + json.dumps(found)
    for value in (IBAN, NAME, "12.50 EUR", "MD06"):
        assert value in page
    for strange in ("Birne", OTHER):
        assert strange not in page + json.dumps(found)
    ((subject_id, reason),) = world.ask(
        "select subject_id, reason from audit where action = 'debtor.exported'"
    )
    assert (subject_id, reason) == (str(world.debtor_id), "inquiry of the bank, DE89**************3000")
    missing = await world.api.post("/api/debtors/999/dossier", json={"reason": "x"})
    assert missing.status_code == 404


async def test_an_archive_that_is_gone_is_named_in_the_dossier(world: World) -> None:
    """A dossier that is incomplete in silence is a wrong answer to the bank."""
    assert await world.archived() == 2
    for path in world.folder.rglob("*.gz"):
        path.unlink()
    answer = await world.api.post(f"/api/debtors/{world.debtor_id}/dossier", json={"reason": "x"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        (sentence,) = json.loads(file.read("dossier.json"))["unread"]
    assert sentence.startswith("Archive 1 was not read.")


async def test_an_erasure_leaves_nothing_in_any_table_or_object(world: World) -> None:
    """A name that stays in an archive or a forgotten column is what the supervisory authority finds."""
    assert await world.archived() == 2
    before = world.found(*PERSONAL)
    assert {value for value in PERSONAL if any(place.startswith(f"{value} in ") for place in before)} == set(
        PERSONAL
    )
    books = world.ask(
        "select id, amount_minor, state, iban_fingerprint, iban_masked, debtor_id from billing_attempts order by id"
    )

    preview = (await world.api.get(f"/api/debtors/{world.debtor_id}/erasure")).json()
    assert preview["debtor_ids"] == [world.debtor_id]
    assert (preview["obstacles"], preview["acceptable"], preview["order"]) == ([], False, None)
    amounts = {amount["what"]: amount["count"] for amount in preview["amounts"]}
    assert amounts == {
        "debtors": 1, "edits": 1, "checks": 1, "mandates": 1, "pre_notifications": 2, "notifications": 1, "archived_notifications": 2, "files": 1,
    }  # fmt: skip
    # The reason stays for ever, in the order and in the audit.
    named = await world.erase(reason="letter of Frau QUITTENBAUM, 2 March")
    assert named.status_code == 422, named.text
    assert "must not name the debtor" in named.text
    assert "quittenbaum" not in named.text.lower()
    ordered = await world.erase()
    assert (ordered.status_code, ordered.json()["status"]) == (202, "ordered"), ordered.text
    assert await erase_once(world.erasing) == {1: "finished"}

    assert world.found(*PERSONAL) == []
    assert world.ask("select count(*) from quarantined_notifications") == [(0,)]
    # What guards against a second debit, and what the books have, stays.
    assert (
        world.ask(
            "select id, amount_minor, state, iban_fingerprint, iban_masked, debtor_id from billing_attempts order by id"
        )
        == books
    )
    entry, lifted = world.ask("select iban_fingerprint, action, lifted_at is null from blacklist order by id")
    assert entry == (ibans.fingerprint(FORMER), "block", True)
    assert lifted[2] is False
    # Another person of the same file is as before, and so are the counts.
    assert world.ask("select name, iban from debtors where id <> %s", world.debtor_id) == [
        ("Berta Birne", OTHER)
    ]
    assert world.ask("select stored, refused from uploads order by id limit 1") == [(2, 1)]
    gone = await world.api.get("/api/uploads/1/file")
    assert gone.status_code == 410
    # The notifications can still be read, and a repeat of one is recognised by its key.
    bodies = world.ask("select body from webhook_events")
    assert [b"signature=" in body and b"status=refunded" in body for (body,) in bodies] == [True]

    again = await world.erase()
    assert (again.status_code, again.json()["status"]) == (200, "finished")
    assert await erase_once(world.erasing) == {}
    assert world.ask("select count(*) from audit where action = 'debtor.erased'") == [(1,)]
    events = world.ask("select convert_from(payload, 'utf8') from outbox where name = 'debtor.erased'")
    assert [json.loads(payload)["debtor_id"] for (payload,) in events] == [world.debtor_id]
    detail = (await world.api.get(f"/api/debtors/{world.debtor_id}")).json()
    assert detail["debtor"]["debtor"]["erased_at"] is not None
    assert "was erased" in detail["obstacle"]
    # A dossier of what is left is empty of the person, and still explains the debit.
    left = await world.api.post(f"/api/debtors/{world.debtor_id}/dossier", json={"reason": "x"})
    with zipfile.ZipFile(io.BytesIO(left.content)) as file:
        content = file.read("dossier.json").decode()
    assert all(value not in content for value in PERSONAL)
    assert json.loads(content)["payments"][0]["payment"]["amount_minor"] == 1250


async def test_what_comes_after_an_erasure_is_erased_too(world: World) -> None:
    """A chargeback is reported a year later, with the account and the name in it."""
    await world.erase()
    await erase_once(world.erasing)
    world.notify("u-1", "chargebacked", at=NOW)
    assert world.found(FORMER) != []
    assert await erase_late(world.erasing) == 1
    assert world.found(*PERSONAL) == []
    assert await erase_late(world.erasing) == 0


async def test_an_erasure_waits_while_it_costs_evidence(world: World) -> None:
    """A debtor reclaims 1,250 euros after the mandate was erased, and the creditor pays twice; or a debit is sent for nobody."""
    lately = NOW - timedelta(days=20)
    world.ask("update billing_attempts set state = 'approved', payment_stage = 60, submitted_at = %s", lately)
    preview = (await world.api.get(f"/api/debtors/{world.debtor_id}/erasure")).json()
    (obstacle,) = preview["obstacles"]
    assert (obstacle["code"], preview["acceptable"]) == ("reversible", True)
    assert date.fromisoformat(preview["possible_from"]) > NOW.date() + timedelta(days=370)
    refused = await world.erase()
    assert refused.status_code == 409
    assert f"Erase the debtor on {preview['possible_from']} or later" in refused.json()["detail"]

    run_id = world.ask("select run_id from billing_attempts")[0][0]
    world.ask("update billing_runs set state = 'running', finished_at = null where id = %s", run_id)
    world.ask("update mandates set state = 'active', ended_at = null, ended_reason = null")
    for state, stage in (("unknown", 10), ("pending", 0)):
        world.ask("update billing_attempts set state = %s, payment_stage = %s", state, stage)
        refused = await world.erase(accept_reversible=True)
        assert refused.status_code == 409
        for sentence in (
            f"The outcome of debit {world.attempt_id} is not known yet.",
            f"Billing run {run_id} of an upload with this debtor is not over.",
            "Mandate 1 is active. Cancel it.",
        ):
            assert sentence in refused.json()["detail"]
    assert world.ask("select count(*) from erasures") == [(0,)]

    world.ask("update billing_runs set state = 'finished', finished_at = %s where id = %s", NOW, run_id)
    world.ask("update mandates set state = 'cancelled', ended_at = %s, ended_reason = 'x'", NOW)
    world.ask("update billing_attempts set state = 'approved', payment_stage = 60")
    accepted = await world.erase(accept_reversible=True)
    assert accepted.status_code == 202
    # Something comes in the way before a worker looks.
    world.ask("update billing_attempts set state = 'unknown', payment_stage = 10")
    assert await erase_once(world.erasing) == {1: "refused"}
    assert world.ask("select refused_reason like 'Nothing was erased.%%not known yet%%' from erasures") == [
        (True,)
    ]
    assert world.found(NAME) != []
    assert not list(world.folder.glob("erasures/*"))
    world.ask("update billing_attempts set state = 'approved', payment_stage = 60")
    assert (await world.erase(accept_reversible=True)).status_code == 202
    assert await erase_once(world.erasing) == {2: "finished"}
    assert world.found(*PERSONAL) == []


async def test_rows_of_one_person_are_erased_together_and_others_are_left_alone(world: World) -> None:
    """Next month's row of the same person would keep the name; a wife with the same account has not asked to be erased."""
    await world.upload(
        HEADERS + f"quittenbaum, adalbert;{IBAN};9,00;;;;;;\nKlara Quittenbaum;{IBAN};8,00;;;;;;\n"
    )
    await world.upload(HEADERS + f"{NAME};FR1420041010050500013M02606;9,00;;;;;;\n")
    ids = [row_id for (row_id,) in world.ask("select id from debtors order by id")]
    own, berta, later, klara, homonym = ids
    preview = (await world.api.get(f"/api/debtors/{own}/erasure")).json()
    assert preview["debtor_ids"] == [own, later]
    assert {item["debtor_id"]: item["why"] for item in preview["related"]} == {
        klara: "same_account",
        homonym: "same_name",
    }
    stale = await world.erase(debtor_ids=[own])
    assert (stale.status_code, stale.json()["code"]) == (409, "rows_changed")
    assert (await world.erase()).status_code == 202
    assert await erase_once(world.erasing) == {1: "finished"}
    assert world.ask("select id from debtors where erased_at is not null order by id") == [(own,), (later,)]
    assert world.ask("select count(*) from debtors where name <> ''") == [(3,)]
    # A row without a debit, of an account that is not on the blacklist, keeps no fingerprint.
    prints = dict(world.ask("select id, iban_fingerprint from debtors"))
    assert prints[klara] == ibans.fingerprint(IBAN)
    assert prints[later] != ibans.fingerprint(IBAN)
    assert berta in ids


async def test_nobody_bills_an_erased_row_who_judged_it_before(world: World) -> None:
    """A planner reads a debtor, the erasure commits, and the planner inserts a debit of an account that nobody can explain."""
    await world.erase(accept_reversible=True)
    await erase_once(world.erasing)
    add = load("payments/submissions")["add"]
    ((fingerprint, amount),) = world.ask(
        "select iban_fingerprint, amount_minor from debtors where id = %s", world.debtor_id
    )
    values = {
        "debtor_ids": [world.debtor_id], "transaction_ids": ["t-2"], "amounts_minor": [amount], "currencies": ["EUR"],
        "fingerprints": [fingerprint], "maskeds": ["x"], "try_numbers": [2], "retries_of": [None], "canaries": [False],
        "account": "default", "run_id": 1, "due_item": "june", "is_scheduled": False, "now": NOW,
    }  # fmt: skip
    with psycopg.connect(world.url) as conn:
        assert conn.execute(add.encode(), values).fetchall() == []
    order = {"due_item": "june", "dry_run": True}
    plan = (await world.api.post("/api/uploads/1/billing", json=order)).json()
    assert "personal data was erased" in json.dumps(plan)


async def test_a_restore_brings_nothing_back(
    world: World,
    environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backup of last week has the name again, and nobody remembers who was erased since; or a new debtor with the old id is erased."""
    ((backup,),) = world.ask("select to_jsonb(d)::text from debtors d where id = %s", world.debtor_id)
    await world.erase()
    assert await erase_once(world.erasing) == {1: "finished"}
    (entry,) = world.folder.glob("erasures/*")
    assert NAME not in entry.read_text()

    # The database goes back: it has the row, and knows no order.
    columns = ", ".join(f"{name} = r.{name}" for name in json.loads(backup) if name != "id")
    world.ask(
        f"update debtors d set {columns} from jsonb_populate_record(null::debtors, %s::jsonb) r where d.id = r.id",
        backup,
    )
    world.ask("delete from erasures")
    assert world.found(NAME) != []
    # An entry of the last minutes may be of an order that is being carried out.
    assert (
        await apply_list(msgspec.structs.replace(world.erasing, clock=lambda: NOW + timedelta(minutes=5)))
        == []
    )
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert await asyncio.to_thread(main, ["erasures", "apply"]) == 0
    assert "erasures ordered again: 1" in capsys.readouterr().out
    assert world.found(*PERSONAL) == []
    assert await asyncio.to_thread(main, ["erasures", "apply"]) == 0
    assert "erasures ordered again: 0" in capsys.readouterr().out
    assert await asyncio.to_thread(main, ["erasures", "list"]) == 0
    assert "finished  debtor 1" in capsys.readouterr().out

    # It went back further, and the id was given to somebody else since.
    world.ask("delete from erasures")
    world.ask(
        f"update debtors d set {columns} from jsonb_populate_record(null::debtors, %s::jsonb) r where d.id = r.id",
        backup,
    )
    world.ask("update debtors set created_at = %s where id = %s", NOW, world.debtor_id)
    assert await apply_list(world.erasing, at_once=True) == []
    assert world.found(NAME) != []


async def test_only_an_administrator_without_limits_erases(world: World) -> None:
    """An operator who is asked on the phone erases the evidence of a dispute; or a limited key reads rows of another merchant."""
    made = [("op", "operator", None), ("boss", "admin", ["default"])]
    keys = {}
    for name, role, accounts in made:
        answer = await world.api.post(
            "/api/api-keys", json={"name": name, "role": role, "accounts": accounts}
        )
        assert answer.is_success, answer.text
        keys[name] = {"Authorization": f"Bearer {answer.json()['secret']}"}
    path = f"/api/debtors/{world.debtor_id}"
    erasure: dict[str, Any] = {"json": {"debtor_ids": [world.debtor_id], "reason": "x"}}
    assert (await world.api.get(f"{path}/erasure", headers=keys["op"])).status_code == 403
    assert (await world.api.post(f"{path}/erasure", headers=keys["op"], **erasure)).status_code == 403
    assert (
        await world.api.post(f"{path}/dossier", headers=keys["op"], json={"reason": "x"})
    ).status_code == 200
    for answer in (
        await world.api.post(f"{path}/erasure", headers=keys["boss"], **erasure),
        await world.api.post(f"{path}/dossier", headers=keys["boss"], json={"reason": "x"}),
    ):
        assert answer.status_code == 403
        assert "You are limited to the gateway accounts default" in answer.json()["detail"]


async def test_a_person_does_both_in_the_browser(world: World) -> None:
    """A form that sends other rows than its page showed would erase somebody whom nobody looked at."""
    own = {"sec-fetch-site": "same-origin"}
    await world.api.post("/sign-in", data={"key": "test-key"}, headers=own)
    path = f"/debtors/{world.debtor_id}"
    assert "Download everything about this person" in (await world.api.get(path)).text
    refused = await world.api.post(f"{path}/dossier", data={"reason": " "}, headers=own)
    assert refused.status_code == 422
    file = await world.api.post(f"{path}/dossier", data={"reason": "x"}, headers=own)
    assert zipfile.is_zipfile(io.BytesIO(file.content))
    assert file.headers["content-disposition"].startswith("attachment;")
    page = (await world.api.get(f"{path}/erasure")).text
    assert f'name="debtor_ids" value="{world.debtor_id} "' in page
    assert "The books are kept for ten years." in page
    stale = await world.api.post(f"{path}/erasure", data={"reason": "x", "debtor_ids": "99"}, headers=own)
    assert stale.status_code == 409
    assert "Look at the preview again" in stale.text
    done = await world.api.post(
        f"{path}/erasure", data={"reason": "x", "debtor_ids": f"{world.debtor_id} "}, headers=own
    )
    assert (done.status_code, done.headers["location"]) == (303, f"{path}?done=erasure")
    assert await erase_once(world.erasing) == {1: "finished"}
    assert "Erase the personal data" not in (await world.api.get(path)).text
