"""Edits from a terminal, and what they leave for a change of the fingerprint key."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from tether_core import iban as ibans
from tether_core.screening.verdicts import ScreeningPolicy
from tether_core.spreadsheet import Rules
from tether_sandbox.uploads import Owed, seed_upload
from tether_stores import blacklist, debtor_edits
from tether_stores.blacklist import ManualEntry
from tether_stores.debtor_edits import DebtorEdit
from tether_stores.postgres import transaction
from tether_worker.__main__ import main
from tether_worker.fingerprint_key import rekey

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

DE, AT = "DE89370400440532013000", "AT611904300234573201"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


async def ask(conn: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Ask the tables."""
    return await (await conn.execute(query.encode(), values)).fetchall()


def test_a_debtor_is_corrected_from_a_terminal(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way for a night without a console; an account number stays out of the shell's history."""
    _, (debtor_id,) = seed_upload(database_url, [Owed(DE, 1000)], now=NOW)
    monkeypatch.setenv("DATABASE_URL", database_url)
    known = ["debtors", "edit", str(debtor_id), "--by", "ada", "--reason", "a new account"]
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{AT}\n"))
    assert main([*known, "--version", "0", "--set", "iban=-", "--set", "amount_minor=1250"]) == 0
    said = capsys.readouterr().out
    assert "amount_minor: 1000 -> 1250" in said
    assert f"debtor {debtor_id} has version 1; screening: clear -> clear" in said
    assert AT not in said
    assert main([*known, "--version", "0", "--clear", "email"]) == 75
    assert "has version 1 by now" in capsys.readouterr().err
    assert main([*known, "--version", "1", "--set", "verdict=clear"]) == 2
    assert "names no field that can be edited" in capsys.readouterr().err
    assert main([*known, "--version", "1", "--set", "amount_minor=12.5"]) == 2
    assert main(["debtors", "edit", "999999", "--version", "0", "--by", "ada", "--reason", "x"]) == 2


async def test_a_new_fingerprint_key_finds_the_account_of_before_an_edit(
    pool: Pool, conn: Connection, database_url: str
) -> None:
    """A chargeback and an entry of the blacklist about the former account would be about nobody, and the next list would debit it."""
    _, (debtor_id,) = seed_upload(database_url, [Owed(DE, 1000)], now=NOW, fingerprint_key=b"old")
    old, new = (ibans.fingerprint(DE, key=key) for key in (b"old", b"new"))
    await ask(
        conn,
        "insert into billing_attempts (account, debtor_id, transaction_id, amount_minor, currency, state, payment_stage, dispute_stage,"
        " iban_fingerprint, iban_masked, created_at, updated_at) values ('default', %s, 't-1', 1000, 'EUR', 'chargebacked', 60, 1, %s, '',"
        " %s, %s) returning 1",
        debtor_id, old, NOW, NOW,
    )  # fmt: skip
    entry = ManualEntry(action="block", reason_code="AC04", iban_fingerprint=old, iban_masked=ibans.mask(DE))
    await blacklist.enter(conn, [entry], source="manual", added_by="ada", now=NOW)
    order = DebtorEdit(version=0, changes={"iban": AT}, reason="a new account", edited_by="ada")
    async with transaction(pool) as within:
        done = await debtor_edits.edit(
            within, debtor_id, order, key=b"old", policy=ScreeningPolicy(), rules=Rules(), now=NOW
        )
    assert done is not None
    assert done.verdict == "clear"
    await rekey(pool, b"new", ordered_by="ada", reason="it leaked")
    assert await ask(conn, "select iban_fingerprint from billing_attempts") == [(new,)]
    assert await ask(conn, "select iban_fingerprint from blacklist") == [(new,)]
    assert await ask(conn, "select iban_fingerprint_before from debtor_edits") == [(new,)]
    assert await ask(conn, "select iban_fingerprint from debtors") == [(ibans.fingerprint(AT, key=b"new"),)]
    assert await ask(conn, "select count(*) from fingerprint_rekeying_unmatched") == [(0,)]
