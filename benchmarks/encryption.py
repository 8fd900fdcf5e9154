"""
`python -m benchmarks encryption`: what it would cost to encrypt the personal columns of debtors one by one.

The same people are stored twice: as text, with the indexes by which debtors are searched for; and with each of twelve columns encrypted (AES-GCM), with keyed words
(HMAC) in place of what is searched for. Decision 0046 chose encryption below Postgres; these are the costs of the other way.
"""

import argparse
import hmac
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from statistics import median
from typing import Any, Final

import msgspec
import psycopg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tether_stores.queries import split_file

from benchmarks import database
from benchmarks.environment import Environment, environment
from benchmarks.results import heading, prose, table, write

__all__ = ["add_arguments", "run"]

_SQL = split_file("benchmarks", "sql/encryption")
_NONCE_BYTES: Final = 12
_KEYED_BYTES: Final = 8
_SEARCHES: Final = 200
_FIRST: Final = ("Ada", "Ben", "Carla", "Dieter", "Eva", "Finn", "Greta", "Hans", "Ina", "Jonas", "Karla", "Leo", "Mia", "Nora", "Otto", "Paula")  # fmt: skip
_SYLLABLES: Final = (
    "ber",
    "den",
    "feld",
    "gar",
    "hol",
    "kamp",
    "lin",
    "mann",
    "nau",
    "rich",
    "stein",
    "wald",
    "zer",
    "meier",
)

_Row = tuple[Any, ...]


class _Keys(msgspec.Struct, frozen=True):
    """What encrypts, and what keys words."""

    aead: AESGCM
    words: bytes

    def seal(self, text: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.aead.encrypt(nonce, text.encode(), None)

    def opened(self, sealed: bytes) -> str:
        return self.aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None).decode()

    def keyed(self, word: str) -> bytes:
        return hmac.digest(self.words, word.lower().encode(), sha256)[:_KEYED_BYTES]


class _Costs(msgspec.Struct, frozen=True):
    """Of one table, per row where it says so."""

    prepared_us: float
    copied_us: float
    table_bytes: float
    index_bytes: float
    search_ms: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--short", action="store_true", help="few rows, to see that it works")
    parser.add_argument("--rows", type=int, help="people (default: 200000, short: 5000)")
    parser.add_argument("--seed", type=int, default=1, help="of the people (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when both tables find the same people."""
    rows = args.rows or (5_000 if args.short else 200_000)
    rng = random.Random(args.seed)
    people = list(_people(rows, rng))
    words = [rng.choice(people)[3] for _ in range(_SEARCHES)]
    keys = _Keys(AESGCM(AESGCM.generate_key(256)), os.urandom(32))
    with environment() as it:
        on = database.added(it, "encryption")
        database.run(on, _SQL["made"])
        plain, found = _measured(on, "plain", people, prepared=lambda row: row, words=words, opened=str)
        sealed, found_sealed = _measured(
            on,
            "sealed",
            people,
            prepared=lambda row: _sealed(row, keys),
            words=[keys.keyed(word) for word in words],
            opened=keys.opened,
        )
        frequent = int(database.ask(on, _SQL["most_frequent"])[0][0])
    lines = heading("Encryption: columns of debtors, one by one", seed=args.seed)
    lines += prose(
        f"{rows:,} people with twelve columns each, copied in one go; {_SEARCHES} searches for a word of a name, a page of 50 each, opened. The most",
        f"frequent keyed word is in {frequent:,} rows, as the name behind it is: a thief of the table counts names without any key.",
    )
    lines += table(
        ("", "prepared us a row", "copied us a row", "bytes a row", "bytes of indexes a row", "search ms"),
        [
            (name, *(round(value, 2) for value in msgspec.structs.astuple(costs)))
            for name, costs in (("text", plain), ("encrypted", sealed))
        ],
    )
    write("encryption-short" if args.short else "encryption", lines)
    return 0 if found == found_sealed else 1


def _people(rows: int, rng: random.Random) -> Iterator[_Row]:
    for number in range(rows):
        first = rng.choice(_FIRST)
        last = "".join(rng.choice(_SYLLABLES) for _ in range(rng.choice((2, 2, 3)))).capitalize()
        yield (
            f"DE{rng.randrange(10**20):020}",
            f"{first} {last}",
            first,
            last,
            f"{first}.{last}{number}@mail.example".lower(),
            f"+49 30 {rng.randrange(10**7):07}",
            f"{last}straße",
            str(rng.randrange(1, 200)),
            f"{rng.randrange(10**5):05}",
            rng.choice(("Berlin", "Hamburg", "Freiburg im Breisgau")),
            f"K-{number:08}",
            "Membership fee of this month",
        )


def _sealed(row: _Row, keys: _Keys) -> _Row:
    words = [keys.keyed(word) for word in row[1].split()]
    return (*map(keys.seal, row), words, keys.keyed(row[10]), keys.keyed(row[0][-4:]))


def _measured(
    on: Environment,
    name: str,
    people: Sequence[_Row],
    *,
    prepared: Callable[[_Row], _Row],
    words: Sequence[str | bytes],
    opened: Callable[[Any], str],
) -> tuple[_Costs, list[list[str]]]:
    """Copy the people into a table, and search it; the costs, and the names that each search found."""
    began_s = time.process_time()
    rows = [prepared(row) for row in people]
    prepared_s = time.process_time() - began_s
    kinds = ["text"] * 12 if name == "plain" else ["bytea"] * 12 + ["bytea[]", "bytea", "bytea"]
    with psycopg.connect(on.environ["DATABASE_URL"], autocommit=True) as conn, conn.cursor() as cursor:
        began_s = time.monotonic()
        with cursor.copy(_SQL[f"copied_{name}"]) as copy:
            copy.set_types(kinds)
            for row in rows:
                copy.write_row(row)
        copied_s = time.monotonic() - began_s
        for statement in _SQL[f"indexed_{name}"].split(";"):
            if statement.strip():
                cursor.execute(statement.encode())
        sizes = cursor.execute(_SQL["sizes"], {"name": name}).fetchone()
        assert sizes is not None
        times_ms: list[float] = []
        found: list[list[str]] = []
        for word in words:
            began_s = time.monotonic()
            page = cursor.execute(_SQL[f"searched_{name}"], {"word": word}).fetchall()
            found.append([opened(row[0]) for row in page])
            times_ms.append((time.monotonic() - began_s) * 1e3)
    count = len(people)
    costs = _Costs(
        prepared_s / count * 1e6, copied_s / count * 1e6, sizes[0] / count, sizes[1] / count, median(times_ms)
    )
    return costs, found
