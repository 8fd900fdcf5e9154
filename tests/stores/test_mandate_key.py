"""The key of a mandate in Postgres; `tether_core.payments.same_debit` says which mandates are the same."""

import random
from collections import defaultdict

from tether_core.mandate_conflicts import is_same
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
