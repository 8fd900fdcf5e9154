"""
Generated debtors and billing attempts: `tether-sandbox seed --attempts 1000`.

A seeded attempt is pending at the gateway. One JSON line is printed for each, which `tether-sandbox gateway` reads.

>>> import random
>>> made_up_iban(random.Random(1))
'DE85656247381085762037'
"""

import random
from collections.abc import Iterator
from datetime import datetime

import msgspec
import psycopg
from tether_core import iban
from tether_stores.queries import split_file

__all__ = ["Seeded", "made_up_iban", "seed"]

_SQL = split_file("tether_sandbox", "sql/seed")
_CHUNK = 5_000
_GIVEN = "Ada Ben Cleo Dora Emil Finn Greta Hugo Ida Jan Kim Lea Max Nora Otto Pia Rosa Sven Tom Uta".split()
_FAMILY = "Ahorn Birke Buche Eiche Erle Esche Fichte Hasel Kiefer Linde Pappel Tanne Ulme Weide Zeder".split()


class Seeded(msgspec.Struct, frozen=True):
    """
    A generated attempt; a JSON line of `tether-sandbox seed`.

    Attributes:
        id: The id of its row.
        transaction_id: Tether's id.
        unique_id: The gateway's id, 32 hex digits.
        amount_minor: Cents.
        currency: "EUR".
        iban: Generated, with valid check digits.
    """

    id: int
    transaction_id: str
    unique_id: str
    amount_minor: int
    currency: str
    iban: str


def made_up_iban(rng: random.Random) -> str:
    """A German IBAN with valid check digits and a random bank code; 22 characters."""
    account = f"{rng.randrange(10**18):018d}"
    check = 98 - int(account + "131400") % 97  # DE is 1314, ISO 13616
    return f"DE{check:02d}{account}"


def seed(
    database_url: str, *, attempts: int, rng: random.Random, now: datetime, fingerprint_key: bytes = b""
) -> Iterator[Seeded]:
    """
    Insert debtors and pending attempts into a migrated database.

    Args:
        attempts: How many.
        rng: Draws names, amounts and ids.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`.

    Yields:
        Each attempt, once its chunk is committed.
    """
    with psycopg.connect(database_url, autocommit=True, prepare_threshold=None) as conn:
        left = attempts
        while left > 0:
            size = min(left, _CHUNK)
            yield from _chunk(conn, size, rng=rng, now=now, key=fingerprint_key)
            left -= size


def _chunk(
    conn: psycopg.Connection[tuple[object, ...]],
    size: int,
    *,
    rng: random.Random,
    now: datetime,
    key: bytes,
) -> list[Seeded]:
    ibans = [made_up_iban(rng) for _ in range(size)]
    amounts = [rng.randrange(199, 9_999) for _ in range(size)]
    fingerprints = [iban.fingerprint(item, key=key) for item in ibans]
    unique_ids = [f"{rng.getrandbits(128):032x}" for _ in range(size)]
    transaction_ids = [f"seed-{unique_id[:20]}" for unique_id in unique_ids]
    shared = {"amounts_minor": amounts, "fingerprints": fingerprints, "now": now}
    with conn.transaction():
        debtors = conn.execute(
            _SQL["debtors"],
            {
                **shared,
                "ibans": ibans,
                "names": [f"{rng.choice(_GIVEN)} {rng.choice(_FAMILY)}" for _ in range(size)],
            },
        ).fetchall()
        rows = conn.execute(
            _SQL["attempts"],
            {
                **shared,
                "debtor_ids": [row[0] for row in debtors],
                "transaction_ids": transaction_ids,
                "unique_ids": unique_ids,
                "maskeds": [iban.mask(item) for item in ibans],
            },
        ).fetchall()
    return [
        Seeded(row_id, transaction_id, unique_id, amount, "EUR", account)
        for (row_id,), transaction_id, unique_id, amount, account in msgspec.convert(
            list(zip(rows, transaction_ids, unique_ids, amounts, ibans, strict=True)),
            list[tuple[tuple[int], str, str, int, str]],
        )
    ]
