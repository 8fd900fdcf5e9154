"""The blacklist over HTTP: entries made, found, lifted, exported and taken in again."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tether_core import iban as ibans
from tether_core.fingerprint_key import check_value
from tether_sandbox.seed import seed
from tether_sandbox.uploads import Owed, seed_upload

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    Serve = Callable[..., Any]

DE, AT, NL = "DE89370400440532013000", "AT611904300234573201", "NL91ABNA0417164300"


@pytest.fixture
async def api(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client that shows its key."""
    client.headers["Authorization"] = "Bearer test-key"
    return client


async def add(api: httpx.AsyncClient, **body: Any) -> httpx.Response:
    """Make an entry."""
    return await api.post("/api/blacklist", json=body)


async def listed(api: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    """What the list shows."""
    answer = await api.get("/api/blacklist", params=filters)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def take_in(api: httpx.AsyncClient, text: str | bytes) -> httpx.Response:
    """Import CSV."""
    return await api.post("/api/blacklist/import", content=text, headers={"content-type": "text/csv"})


async def test_an_entry_is_made_once_and_matches_by_fingerprint(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """The account is what billing and intake look for; the number itself must not lie in the list."""
    made = await add(api, iban="de89 3704 0044 0532 0130 00", action="hold", reason="MD06", note="by phone")
    again = await add(api, iban=DE, action="hold", reason="MD06")
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    entry = made.json()
    assert (entry["iban_masked"], entry["action"], entry["scope"], entry["source"], entry["added_by"]) == (
        "DE89**************3000", "hold", "iban", "manual", "tests",
    )  # fmt: skip
    with psycopg.connect(database_url) as conn:
        rows = conn.execute("select iban_fingerprint, blacklist::text from blacklist").fetchall()
    assert [row[0] for row in rows] == [ibans.fingerprint(DE)]
    assert DE not in rows[0][1]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"iban": DE, "name": "A B"}, 422),
        ({"iban": "DE88370400440532013000"}, 422),
        ({"iban": DE, "action": "none"}, 400),
        ({"iban": DE, "expires_at": "2027-01-01T00:00:00"}, 422),
        ({"iban": DE, "colour": "red"}, 400),
        ({"name": "A\x00B"}, 422),
        ({"name": "A\u200bB"}, 422),
        ({"email": "a\x02@example.org"}, 422),
        ({"iban": DE, "note": "by\x02phone"}, 422),
        ({"iban": DE, "reason": "MD\x0206"}, 422),
        ({"name": "  "}, 422),
    ],
    ids=str,
)
async def test_an_entry_that_cannot_be_meant_is_refused(
    api: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    """An entry about nobody protects nobody, and its author would believe otherwise."""
    answer = await add(api, **body)
    assert answer.status_code == status
    assert "DE88370400440532013000" not in answer.text


async def test_entries_are_found_by_what_they_are_about(api: httpx.AsyncClient) -> None:
    """Support staff look up an entry by name, reason or kind."""
    await add(api, iban=DE, reason="MD06", action="hold")
    await add(api, name="Müller, Jürgen")
    await add(api, email="Anna@Example.org")
    await add(api, iban=AT, expires_at="2020-01-01T00:00:00Z")
    assert len(await listed(api)) == 3
    assert [item["iban_masked"] for item in await listed(api, which="ended")] == ["AT61************3201"]
    assert len(await listed(api, which="all")) == 4
    assert [item["scope"] for item in await listed(api, name="JÜRGEN MÜLLER")] == ["name"]
    assert [item["scope"] for item in await listed(api, email="anna@example.org")] == ["email"]
    assert [item["reason_code"] for item in await listed(api, action="hold")] == ["MD06"]
    assert [item["reason_code"] for item in await listed(api, reason="MD06")] == ["MD06"]
    assert await listed(api, source="chargeback") == []


async def test_pages_follow_each_other(api: httpx.AsyncClient) -> None:
    """A list of thousands is paged through; none may be missed."""
    for number in range(5):
        await add(api, name=f"Person {number}")
    first = (await api.get("/api/blacklist", params={"limit": 3})).json()
    second = (await api.get("/api/blacklist", params={"limit": 3, "cursor": first["next"]})).json()
    assert [item["name"] for page in (first, second) for item in page["items"]] == [
        f"Person {number}" for number in range(4, -1, -1)
    ]


async def test_an_entry_is_lifted_by_somebody_and_stays_stored(api: httpx.AsyncClient) -> None:
    """Who lifted a block, and why, must be known later."""
    block, hold = (await add(api, iban=DE)).json(), (await add(api, iban=AT, action="hold")).json()
    refused = await api.delete(f"/api/blacklist/{block['id']}")
    assert (refused.status_code, "Say why" in refused.json()["detail"]) == (422, True)
    lifted = await api.delete(f"/api/blacklist/{block['id']}", params={"reason": "a new mandate"})
    assert (lifted.status_code, lifted.json()["lifted_by"], lifted.json()["lifted_reason"]) == (
        200, "tests", "a new mandate",
    )  # fmt: skip
    assert (await api.delete(f"/api/blacklist/{hold['id']}")).status_code == 200
    assert (await api.delete(f"/api/blacklist/{hold['id']}")).status_code == 409
    assert (await api.delete("/api/blacklist/99999")).status_code == 404
    assert await listed(api) == []
    assert (await add(api, iban=DE)).status_code == 201


async def test_a_lift_says_what_it_forgives_and_what_still_excludes_the_account(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """A person who lifts an entry must learn if the account still cannot be debited."""
    (made,) = seed(database_url, attempts=1, rng=random.Random(1), now=datetime.now(UTC))
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "update billing_attempts set dispute_stage = 1, state = 'chargebacked', reason_code = 'RR04'"
        )
        ((account,),) = conn.execute("select iban from debtors where id = 1").fetchall()
    first = (await add(api, iban=account, reason="MD06", action="hold")).json()
    second = (await add(api, iban=account, reason="MANUAL")).json()
    answer = await api.delete(f"/api/blacklist/{first['id']}")
    assert answer.json()["explanation"] == (
        "The entry is lifted. 1 chargeback of the account still excludes it from new uploads; lift the entry again with "
        f"forgives=account to forgive all. Entry {second['id']} still holds the account; lift it, too, if the account is to be "
        "debited."
    )
    unexplained = await api.delete(f"/api/blacklist/{first['id']}", params={"forgives": "account"})
    assert (unexplained.status_code, unexplained.json()["detail"]) == (
        422, "reason: Say why all chargebacks of the account are forgiven.",
    )  # fmt: skip
    again = await api.delete(
        f"/api/blacklist/{first['id']}", params={"forgives": "account", "reason": "new mandate"}
    )
    assert (again.status_code, again.json()["forgiven"], again.json()["unforgiven"]) == (200, 1, 0)
    last = await api.delete(f"/api/blacklist/{second['id']}", params={"reason": "the same"})
    assert (last.json()["still_held_by"], last.json()["explanation"]) == (
        [], "The entry is lifted. To collect from the account, send the debtor's row in a new upload.",
    )  # fmt: skip
    with psycopg.connect(database_url) as conn:
        kept = conn.execute(
            "select attempt_id, blacklist_id, forgiven_by, reason from forgiven_disputes"
        ).fetchall()
    assert kept == [(made.id, first["id"], "tests", "new mandate")]


async def test_a_list_that_comes_every_night_does_not_undo_a_lift(api: httpx.AsyncClient) -> None:
    """The previous system's export still has entries that were lifted here."""
    text = f"iban;name;email;reason\n{DE};Ann Lee;ann@example.org;MD01\n{AT};;;MD01\n"
    assert (await take_in(api, text)).json()["added"] == 4
    for entry in await listed(api):
        if entry["iban_masked"] != ibans.mask(AT):
            await api.delete(f"/api/blacklist/{entry['id']}", params={"reason": "new mandate"})
    payload = (await take_in(api, text)).json()
    assert (payload["added"], payload["existing"], payload["lifted"], payload["problem_count"]) == (
        0,
        1,
        3,
        3,
    )
    assert [(problem["row"], problem["column"], problem["code"]) for problem in payload["problems"]] == [
        (2, "iban", "lifted"), (2, "name", "lifted"), (2, "email", "lifted"),
    ]  # fmt: skip
    assert "tests lifted this entry for MD01 on" in payload["problems"][0]["note"]
    assert "(new mandate)" in payload["problems"][0]["note"]
    assert DE not in str(payload)
    other = (await take_in(api, f"iban;reason\n{DE};MD06\n")).json()
    assert (other["added"], other["lifted"]) == (1, 0)
    answer = await api.post(
        "/api/blacklist/import", params={"relist": "true"}, content=text, headers={"content-type": "text/csv"}
    )
    assert (answer.json()["added"], answer.json()["lifted"]) == (3, 0)
    # An entry that a person made again is lifted no longer.
    assert (await take_in(api, text)).json()["existing"] == 4


async def test_an_expired_entry_makes_room_for_a_new_one(api: httpx.AsyncClient) -> None:
    """An expired entry must not prevent a new one for the same account."""
    await add(api, iban=DE, expires_at="2020-01-01T00:00:00Z")
    assert (await add(api, iban=DE)).status_code == 201
    assert [item["expires_at"] for item in await listed(api)] == [None]


async def test_what_is_exported_can_be_taken_in_again(api: httpx.AsyncClient, database_url: str) -> None:
    """The list moves to another installation with the same key, and no account can be read from the file."""
    await add(api, iban=DE, action="hold", reason="MD06", note='=1+1, "quoted"')
    await add(api, name="O'Neil; Ann", expires_at="2099-01-01T00:00:00Z")
    await add(api, email="anna@example.org")
    exported = await api.get("/api/blacklist/export")
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    assert DE not in exported.text
    lines = list(csv.reader(io.StringIO(exported.content.decode("utf-8-sig"))))
    assert len(lines) == 4
    assert '\'=1+1, "quoted"' in lines[3]
    before = await listed(api)
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("delete from blacklist")
    payload = (await take_in(api, exported.content)).json()
    assert (payload["rows"], payload["added"], payload["problem_count"]) == (3, 3, 0)
    after = await listed(api)
    kept = ("iban_masked", "iban_fingerprint", "name", "email", "action", "reason_code", "note", "expires_at")

    def told_of(entries: list[dict[str, Any]]) -> list[str]:
        return sorted(str([entry[name] for name in kept]) for entry in entries)

    assert told_of(after) == told_of(before)
    again = (await take_in(api, exported.content)).json()
    assert (again["added"], again["existing"]) == (0, 3)


async def test_fingerprints_of_another_key_are_not_taken_in(api: httpx.AsyncClient) -> None:
    """They would match nobody here, and a list of thousands would protect nobody while it looks complete."""
    await add(api, iban=DE)
    exported = (await api.get("/api/blacklist/export")).text
    other = exported.replace(check_value(b"").hex(), check_value(b"another").hex())
    payload = (await take_in(api, other)).json()
    assert (payload["added"], payload["existing"], payload["problem_count"]) == (0, 0, 1)
    assert "another TETHER_FINGERPRINT_KEY" in payload["problems"][0]["note"]


async def test_a_node_with_another_key_blocks_no_account_and_says_so(
    environment: dict[str, str], serving: Serve, database_url: str
) -> None:
    """Its entries would be found by no worker. Names need no key, and notifications go on being recorded."""
    seed_upload(database_url, [Owed(DE, 1000)], now=datetime.now(UTC), fingerprint_key=b"right")
    async with serving(environment | {"TETHER_FINGERPRINT_KEY": "wrong"}) as api:
        api.headers["Authorization"] = "Bearer test-key"
        for answer in (
            await add(api, iban=AT),
            await take_in(api, f"iban\n{AT}\n"),
            await api.post("/api/uploads/1/billing", json={"dry_run": True}),
            await api.post("/api/uploads/1/billing", json={}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "fingerprint_key_refused")
            assert answer.json()["detail"].startswith("TETHER_FINGERPRINT_KEY is not the key that")
        assert (await add(api, name="Ann Lee")).status_code == 201
        ready = await api.get("/ready")
        assert (ready.status_code, ready.json()["fingerprint_key"]) == (200, "differs")
        assert "must set the key that the other nodes have" in ready.json()["refused"]
    with psycopg.connect(database_url) as conn:
        assert conn.execute("select count(*) from blacklist where scope = 'iban'").fetchone() == (0,)
        assert conn.execute("select count(*) from billing_runs").fetchone() == (0,)


async def test_the_list_of_an_old_installation_is_taken_in(api: httpx.AsyncClient) -> None:
    """It has names in two columns, semicolons, lines that are wrong; each line that is right must count."""
    payload = (
        await take_in(
            api,
            "\ufeffIBAN;First Name;Last Name;Email;Reason;Source\n"
            f"{DE};Jürgen;Müller;J@Example.org;Fraud;import\n"
            f"{AT};;;;;\n"
            "DE88370400440532013000;;;;;\n"
            ";;;;;\n"
            ";;;;Nobody;\n"
            ";Anna;Lee;;;\n",
        )
    ).json()
    assert (payload["rows"], payload["added"], payload["problem_count"]) == (5, 5, 2)
    assert [
        (problem["row"], problem["column"], problem["code"], problem["excerpt"])
        for problem in payload["problems"]
    ] == [
        (4, "iban", "unreadable", "DE88**************3000"),
        (6, "", "nobody", ""),
    ]
    entries = await listed(api)
    assert {(entry["scope"], entry["reason_code"]) for entry in entries} == {
        ("iban", "Fraud"), ("name", "Fraud"), ("email", "Fraud"), ("iban", "IMPORT"), ("name", "IMPORT"),
    }  # fmt: skip
    assert {entry["source"] for entry in entries} == {"import"}


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "has no column"),
        (b"a;b\n1;2\n", "has no column"),
        (b"iban\n\xff", "UTF-8"),
        (b'iban\n"a', "quotation"),
    ],
)
async def test_a_file_that_is_no_list_is_refused(api: httpx.AsyncClient, data: bytes, word: str) -> None:
    """An import without entries and without problems would look like success."""
    answer = await take_in(api, data)
    assert (answer.status_code, word in answer.json()["detail"]) == (422, True), answer.text


async def test_a_line_cannot_bring_a_whole_account_number_in(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """The masked column of an import is shown to people; it may contain a whole IBAN."""
    await take_in(api, f"iban_fingerprint,iban_masked\n{ibans.fingerprint(NL).hex()},{NL}\n")
    assert [item["iban_masked"] for item in await listed(api)] == [ibans.mask(NL)]
    bad = (await take_in(api, "iban_fingerprint\nzz\n00\n")).json()
    assert bad["problem_count"] == 2


async def test_notes_are_one_line_of_what_can_be_printed(api: httpx.AsyncClient) -> None:
    """Reports and causes repeat them; an invisible sign would spoil the line of every upload it gets into."""
    entry = (await add(api, iban=DE, note="by phone,\n spoke\xa0to Ada ")).json()
    assert entry["note"] == "by phone, spoke to Ada"
    reason = await api.delete(f"/api/blacklist/{entry['id']}", params={"reason": "new\x02mandate"})
    assert (reason.status_code, reason.json()["detail"]) == (
        422, "reason: Remove the characters that cannot be printed.",
    )  # fmt: skip
    number = ibans.fingerprint(NL).hex()
    header = "iban_fingerprint,iban_masked,note,expires_at"
    lines = [
        f"{number},NL91**********4300,by\x02phone,",
        f"{number},NL\x0291,,",
        f"{number},,,2027-01-01T00:00:00",
    ]
    payload = (await take_in(api, "\n".join([header, *lines]))).json()
    assert (payload["added"], [problem["note"].partition(" ")[0].rstrip(":") for problem in payload["problems"]]) == (
        0, ["note", "iban_masked", "expires_at"],
    )  # fmt: skip


async def test_banks_are_entered_found_exported_and_taken_in_again(
    api: httpx.AsyncClient, database_url: str
) -> None:
    """An entry that is written in another way must be the same entry, and a list must move it whole."""
    made = await add(
        api, bic="coba deff xxx", action="hold", reason="MANUAL", note="costs more than it brings"
    )
    again = await add(api, bic="COBADEFF")
    begun = await add(api, bic="deut*")
    assert (made.status_code, again.status_code, begun.status_code) == (201, 200, 201)
    entry = made.json()
    assert (entry["bic"], entry["scope"], entry["iban_masked"]) == ("COBADEFF", "bank", None)
    assert [item["id"] for item in await listed(api, bic="COBADEFFXXX")] == [entry["id"]]
    assert await listed(api, source="automatic") == []
    exported = await api.get("/api/blacklist/export")
    with psycopg.connect(database_url, autocommit=True) as conn:
        audited = conn.execute(
            "select after ->> 'banks' from audit where action = 'blacklist.added' order by id"
        ).fetchall()
        conn.execute("delete from blacklist")
    assert audited == [("COBADEFF",), ("DEUT*",)]
    payload = (await take_in(api, exported.content)).json()
    assert (payload["rows"], payload["added"], payload["problem_count"]) == (2, 2, 0)
    assert [(item["bic"], item["action"]) for item in await listed(api)] == [
        ("DEUT*", "block"), ("COBADEFF", "hold"),
    ]  # fmt: skip
    for item in await listed(api):
        answer = await api.delete(f"/api/blacklist/{item['id']}", params={"reason": "another terminal"})
        assert answer.json()["explanation"] == "The entry is lifted."
    payload = (await take_in(api, "bic;reason\nCOBADEFF;MANUAL\nDEUT*;OTHER\nDE*;OTHER\n")).json()
    assert (payload["added"], payload["lifted"]) == (1, 1)
    assert [(problem["row"], problem["column"], problem["code"]) for problem in payload["problems"]] == [
        (2, "bic", "lifted"), (4, "bic", "unreadable"),
    ]  # fmt: skip


@pytest.mark.parametrize("bic", ["DE*", "COBA", "COBADEFFX", "COBADEFFXXXX", "COB4DEFF1*1", "*", "C BA12FF"])
async def test_what_is_no_bic_is_refused_with_how_to_write_it(api: httpx.AsyncClient, bic: str) -> None:
    """A beginning of two letters would hold a whole country, and a typing error nobody at all."""
    for answer in (await add(api, bic=bic), await api.get("/api/blacklist", params={"bic": bic})):
        assert answer.status_code == 422
        assert "such as COBADEFF or COBADE*" in answer.text
