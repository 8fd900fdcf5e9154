"""The table of debtors: staged, screened and stored in one transaction, and found again."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from tether_core.iban import fingerprint
from tether_core.payments.matches import EarlierDebit
from tether_core.payments.same_debit import DebitKey, key_of
from tether_core.screening.verdicts import Verdict
from tether_core.spreadsheet import Column, Columns, Debtor, Plan
from tether_stores.debtors import debtors, staging
from tether_stores.debtors.debtors import DebtorFilters
from tether_stores.postgres import transaction

from tests.support.clock import NOON

if TYPE_CHECKING:
    from tether_stores.postgres import Connection, Pool

NO_KEY = DebitKey()
MONTH = NOON - timedelta(days=30)
DE, AT = "DE89370400440532013000", "AT611904300234573201"
ALL = tuple(
    Column(place, field, field)
    for place, field in enumerate((*Debtor.__struct_fields__[1:-2], "floor", "old_iban"))
)
EVERYTHING = Debtor(
    2, DE, 'Zoë "Z" Groß, Söhne', 1250, "EUR", "Zoë", "Groß", "COBADEFFXXX", "M;1", date(2019, 3, 1), "R\\1", "K1",
    "z@example.org", "+49 30", "Weg", "1a", "50667", "Köln", "NRW", "DE", "a,b", date(1980, 2, 29), "X1",
    {"floor": "2", "old_iban": AT},
)  # fmt: skip


def hexadecimal(iban: str) -> str:
    """Fingerprint an IBAN as lines for COPY have it."""
    return fingerprint(iban).hex()


async def stored(pool: Pool, upload_id: int, *rows: Debtor, **verdicts: Verdict) -> None:
    """Store debtors as those of an upload."""
    columns = staging.columns_of(Plan(kind="csv", header_row=1, data_row=2, columns=ALL))
    async with transaction(pool) as conn:
        lines = staging.as_lines(Columns.of(rows), columns=columns, fingerprint=hexadecimal)
        excluded = {int(row[1:]): (item,) for row, item in verdicts.items()}
        await staging.stage(conn, lines, columns=columns)
        await staging.store(conn, upload_id, lines, columns=columns, verdicts=excluded, now=NOON)


async def test_every_field_of_a_file_comes_back(pool: Pool, conn: Connection) -> None:
    """A comma, a quotation mark or a backslash in a name must not end up in the next column."""
    await stored(pool, 7, EVERYTHING)
    (listed,) = await debtors.listed(conn, filters=DebtorFilters(upload_id=7), limit=9, before=None)
    found = await debtors.by_id(conn, listed.id)
    assert found is not None
    assert (listed.name, listed.iban_masked, listed.verdict) == (
        EVERYTHING.name,
        "DE89**************3000",
        "clear",
    )
    for name in (
        "first_name",
        "bic",
        "mandate_id",
        "mandate_signed_on",
        "phone",
        "description",
        "born_on",
        "extra",
    ):
        assert getattr(found, name) == getattr(EVERYTHING, name)


async def test_rows_excluded_are_kept_with_their_cause(pool: Pool, conn: Connection) -> None:
    """A person who looks up why a debtor was not debited reads it here; the report has the row as uploaded."""
    verdict = Verdict("blacklisted", 'The account is blocked: "AC04".')
    await stored(pool, 7, EVERYTHING, Debtor(3, AT, "A B", 100), r2=verdict)
    (excluded,) = await debtors.excluded(conn, 7, after_row=0, limit=9)
    assert (excluded.debtor, excluded.reasons) == (EVERYTHING, [verdict])
    assert await debtors.excluded(conn, 7, after_row=2, limit=9) == []
    (clear,) = await debtors.listed(conn, filters=DebtorFilters(verdict="clear"), limit=9, before=None)
    assert clear.row == 3


async def test_a_cause_may_hold_any_sign(pool: Pool, conn: Connection) -> None:
    """One strange note on the blacklist would end the reading of every file that has this account in it."""
    verdict = Verdict("blacklisted", "The account is blocked: MANUAL: a\x02b\tc\nd\\.")
    await stored(pool, 7, EVERYTHING, Debtor(3, AT, "A B", 100), r2=verdict)
    (excluded,) = await debtors.excluded(conn, 7, after_row=0, limit=9)
    assert excluded.reasons == [verdict]


async def test_a_chunk_that_fails_leaves_nothing(pool: Pool, conn: Connection) -> None:
    """Half a chunk would come again with the next try."""
    columns = ("row", "amount_minor", "name", "iban", "currency")

    async def failing() -> None:
        async with transaction(pool) as own:
            lines = staging.as_lines(
                Columns.of([Debtor(2, DE, "A", 1)]), columns=columns, fingerprint=hexadecimal
            )
            await staging.stage(own, lines, columns=columns)
            await staging.store(own, 7, lines, columns=columns, verdicts={}, now=NOON)
            raise LookupError

    with pytest.raises(LookupError):
        await failing()
    assert await debtors.listed(conn, filters=DebtorFilters(), limit=9, before=None) == []


async def test_screening_tells_only_of_rows_something_is_known_of(pool: Pool) -> None:
    """A million rows of which nothing is known must not travel back to be judged."""
    await stored(pool, 7, Debtor(2, DE, "A", 1, reference="R1"))
    columns = ("row", "amount_minor", "reference", "name", "iban", "currency")
    rows = [
        Debtor(9, DE, "A", 1, reference="R2"),
        Debtor(10, AT, "B", 2),
        Debtor(11, "NL91ABNA0417164300", "C", 3),
        Debtor(12, AT, "B", 4),
    ]
    async with transaction(pool) as conn:
        lines = staging.as_lines(Columns.of(rows), columns=columns, fingerprint=hexadecimal)
        await staging.stage(conn, lines, columns=columns)
        same = [item async for item in staging.related(conn, 7, since=MONTH, dry_run=False, now=NOON)]
        elsewhere = [item async for item in staging.related(conn, 8, since=MONTH, dry_run=False, now=NOON)]
        late = NOON + timedelta(1)
        later = [item async for item in staging.related(conn, 8, since=late, dry_run=False, now=NOON)]
        known = [item async for item in staging.screen(conn, now=NOON)]
        names = [item async for some in staging.names_staged(conn, limit=3) for item in [len(some)]]
    item, two = key_of("R1", None, None), key_of("R2", None, None)
    (austrian, german) = sorted(same, key=lambda kin: len(kin.in_file))
    assert (german.staged, german.in_file, german.elsewhere) == ([(9, two, 1)], [(2, item)], [])
    assert (sorted(austrian.staged), austrian.in_file) == ([(10, NO_KEY, 2), (12, NO_KEY, 4)], [])
    (there,) = [earlier for kin in elsewhere for earlier in kin.elsewhere]
    assert there == EarlierDebit(item, 1, NOON, "waiting", 7)
    assert [min(kin.staged)[0] for kin in later] == [10]
    assert known == []
    assert names == [3, 1]


async def test_a_dry_run_knows_its_own_rows_and_forgets_them(pool: Pool) -> None:
    """It finds repeats across chunks as the real run does, and nothing of it is left for another upload to stumble on."""
    columns = ("row", "amount_minor", "name", "iban", "currency")

    async def chunk(upload_id: int, row: int) -> list[int]:
        async with transaction(pool) as conn:
            lines = staging.as_lines(
                Columns.of([Debtor(row, DE, "A", 1)]), columns=columns, fingerprint=hexadecimal
            )
            await staging.stage(conn, lines, columns=columns)
            known = staging.related(conn, upload_id, since=MONTH, dry_run=True, now=NOON)
            found = [row async for kin in known for row, _, _ in kin.staged]
            await staging.store_dry_run_rows(conn, upload_id, verdicts={})
        return found

    assert [await chunk(7, 2), await chunk(7, 3), await chunk(8, 2)] == [[], [3], []]
    async with transaction(pool) as conn:
        await staging.forget_dry_run(conn, 7)
    assert await chunk(7, 4) == []


def test_only_columns_that_a_file_has_are_copied() -> None:
    """Two dozen empty columns for each of a million rows would be half the work."""
    plan = Plan(
        kind="csv", header_row=1, data_row=2, columns=(Column(0, "a", "iban"), Column(1, "b", "email"))
    )
    assert staging.columns_of(plan) == ("row", "amount_minor", "name", "email", "iban", "currency")
