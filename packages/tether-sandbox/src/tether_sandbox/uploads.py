"""
Generated uploads with their debtors, for billing without a file.

>>> Owed("DE89370400440532013000", 1000).name
'Zoë Miller'
"""

from collections.abc import Sequence
from datetime import datetime
from secrets import token_hex
from typing import Final

import msgspec
import psycopg
from tether_core import iban
from tether_stores.queries import split_file

__all__ = ["Owed", "seed_upload"]

_SQL = split_file("tether_sandbox", "sql/uploads")
_CHUNK: Final = 5_000


class Owed(msgspec.Struct, frozen=True):
    """
    A debtor to insert.

    Attributes:
        iban: `tether_sandbox.gateway.scripted_iban` chooses what the simulator does with it.
        amount_minor: The amount owed.
        name: The account holder.
        currency: ISO 4217.
        city: `None` if unknown.
        country: ISO 3166-1 alpha-2; `None` if unknown.
    """

    iban: str
    amount_minor: int
    name: str = "Zoë Miller"
    currency: str = "EUR"
    city: str | None = None
    country: str | None = None

    def __repr__(self) -> str:
        """Show the amount, no personal data."""
        return f"Owed({self.amount_minor} {self.currency})"


def seed_upload(
    database_url: str, owed: Sequence[Owed], *, now: datetime, fingerprint_key: bytes = b""
) -> tuple[int, list[int]]:
    """
    Insert a completed upload into a migrated database.

    Args:
        owed: n debtors.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`.

    Returns:
        The upload's id, and n ids of debtors.
    """
    ids = list[int]()
    with psycopg.connect(database_url, prepare_threshold=None) as conn:
        made = conn.execute(
            _SQL["upload"], {"object_key": f"seeded/{token_hex(8)}", "now": now, "rows": len(owed)}
        ).fetchone()
        assert made is not None
        for start in range(0, len(owed), _CHUNK):
            chunk = owed[start : start + _CHUNK]
            rows = conn.execute(
                _SQL["debtors"],
                {
                    "upload_id": made[0],
                    "ibans": [row.iban for row in chunk],
                    "fingerprints": [iban.fingerprint(row.iban, key=fingerprint_key) for row in chunk],
                    "names": [row.name for row in chunk],
                    "amounts_minor": [row.amount_minor for row in chunk],
                    "currencies": [row.currency for row in chunk],
                    "cities": [row.city for row in chunk],
                    "countries": [row.country for row in chunk],
                    "now": now,
                },
            )
            ids += [row_id for (row_id,) in rows]
    return int(made[0]), ids
