"""The key of a mandate in Postgres; `tether_core.payments.same_debit` says which mandates are the same."""

import random
from collections import defaultdict

from tether_core.mandate_conflicts import is_same, plain_forms
from tether_core.payments.same_debit import plain
from tether_stores.postgres import Connection


async def test_mandates_that_are_the_same_have_one_key_and_others_do_not(conn: Connection) -> None:
    """Else a mandate of two accounts would be warned of or not by how its reference is written."""
    rng = random.Random(7)
    mandates = [
        "M-01",
        "m 1",
        "M1",
        "0012",
        "12",
        "12.00",
        "12,0",
        "A0007",
        "a7",
        "--7--",
        "7",
        "0",
        "00",
        "-",
        " ",
    ]
    signs = "0012aB-./ ,'+"
    mandates += [rng.choice("aB-") + "".join(rng.choices(signs, k=5)) + "z" for _ in range(3_000)]
    cursor = await conn.execute(
        "select given, mandate_key(given) from unnest(%s::text[]) as given", [mandates]
    )
    keys: dict[str, int] = dict(await cursor.fetchall())
    by_plain = defaultdict[str, set[int]](set)
    for mandate in mandates:
        if is_same(mandate, mandate):
            by_plain[plain(mandate)].add(keys[mandate])
    assert {text: found for text, found in by_plain.items() if len(found) > 1} == {}
    assert len({key for found in by_plain.values() for key in found}) == len(by_plain)


async def test_the_plain_form_of_the_worker_has_the_key_that_postgres_computes(conn: Connection) -> None:
    """Rows are found by either, so a form of its own would hide a mandate of two accounts from the other half of the rows."""
    rng = random.Random(11)
    signs = "00012aBzZ-./ ,'+_\té"
    mandates = ["".join(rng.choices(signs, k=rng.randrange(1, 9))) for _ in range(20_000)]
    mandates += [
        "M-01",
        "0012",
        "12.00",
        "12,0",
        "00",
        "0",
        "-",
        " ",
        "a\n01",
        "12.00\n",
        "--0007",
        "A0b00c",
        "Ä01",
        "I",
    ]
    forms = plain_forms(mandates)
    assert sum(form is not None for form in forms) > 10_000
    cursor = await conn.execute(
        "select mandate, form from unnest(%s::text[], %s::text[]) as given (mandate, form)"
        " where hashtextextended(form, 0) <> mandate_key(mandate)",
        [mandates, forms],
    )
    assert await cursor.fetchall() == []


async def test_a_changed_mandate_loses_its_plain_form(conn: Connection) -> None:
    """The form of the former mandate would hide the new one, and would stay behind where the mandate is erased."""
    await conn.execute(
        "insert into debtors (iban, iban_fingerprint, name, amount_minor, currency, created_at, mandate_id, mandate_plain)"
        " values ('', '', 'A', 1, 'EUR', now(), 'M-1', 'm-1')"
    )
    for change, left in (
        ("name = 'B'", "m-1"),
        ("mandate_id = 'M-1'", "m-1"),
        ("mandate_id = 'M-2'", None),
    ):
        cursor = await conn.execute(f"update debtors set {change} returning mandate_plain".encode())
        assert await cursor.fetchall() == [(left,)]
    cursor = await conn.execute(
        "update debtors set mandate_id = 'M-3', mandate_plain = 'm-3' returning mandate_plain"
    )
    assert await cursor.fetchall() == [(None,)]
