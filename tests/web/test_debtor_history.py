"""What happened to a debtor: everything about the person that is asked about, and nothing that the asker may not see."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from tether_core.emp.notification import FORM
from tether_core.testing import form_body
from tether_sandbox.seed import seed

if TYPE_CHECKING:
    import httpx

KEY = {"authorization": "Bearer test-key"}


async def _history(client: httpx.AsyncClient, debtor_id: int, key: str = "test-key") -> dict[str, Any]:
    answer = await client.get(f"/api/debtors/{debtor_id}/history", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_the_history_has_all_that_is_about_a_debtor_and_no_more(
    client: httpx.AsyncClient, database_url: str
) -> None:
    """A bank's inquiry that is answered without the entry that blocks the account, or with a neighbour's, is answered wrongly."""
    made, other = seed(database_url, attempts=2, rng=random.Random(1), now=datetime.now(UTC))
    with psycopg.connect(database_url, autocommit=True) as conn:
        debtors: dict[int, int] = dict(conn.execute("select id, debtor_id from billing_attempts").fetchall())
        conn.execute(
            "update debtors set bank_bic = 'COBADEFF', email = 'ada@example.com' where id = %s",
            [debtors[made.id]],
        )
        row = conn.execute("select name from debtors where id = %s", [debtors[made.id]]).fetchone()
        assert row is not None
        name = row[0]
        conn.execute("update debtors set name = 'Somebody Else' where id = %s", [debtors[other.id]])
        conn.execute(
            "insert into vop_checks (debtor_id, state, requested_at, provider, checked_at, name_answer, score, answered, result)"
            " values (%s, 'checked', now(), 'tests', now(), 'no', 85, 100, 'mismatch')",
            [debtors[made.id]],
        )

    async def block(**body: str) -> int:
        added = await client.post("/api/blacklist", json=body, headers=KEY)
        assert added.status_code == 201, added.text
        return int(added.json()["id"])

    lifted = await block(iban=made.iban, reason="OLD", note="asked by phone")
    await client.delete(f"/api/blacklist/{lifted}", params={"reason": "a mistake"}, headers=KEY)
    mine = [
        await block(iban=made.iban),
        # The last name first, as lists have it.
        await block(name=" ".join(reversed(name.split(" ", 1)))),
        await block(email="ADA@example.com"),
        await block(bic="COBADE*"),
    ]
    await block(iban=other.iban)
    await block(name="Nobody")
    await block(bic="DEUTDEFF")
    for seeded in (made, other):
        sent = form_body({"unique_id": seeded.unique_id, "status": "approved"}, secret="s3cret-password")
        answer = await client.post("/api/webhooks/emp", content=sent, headers={"content-type": FORM})
        assert answer.status_code == 200, answer.text

    found = await _history(client, debtors[made.id])
    # Active ones first, then the newest.
    assert [entry["id"] for entry in found["blacklist"]] == [*reversed(mine), lifted]
    assert (found["check"]["result"], found["check"]["name"]) == ("mismatch", "no")
    assert [event["notification_id"] for event in found["notifications"]] == [made.unique_id]
    # Of the entries, only those about the account are about nobody else.
    assert [(row["action"], row["subject_id"]) for row in found["actions"]] == [
        ("blacklist.added", str(mine[0])),
        ("blacklist.lifted", str(lifted)),
        ("blacklist.added", str(lifted)),
    ]
    assert found["actions"][1]["reason"] == "a mistake"
    assert "address" not in found["actions"][0]
    assert made.iban not in str(found)

    theirs = await _history(client, debtors[other.id])
    assert len(theirs["blacklist"]) == 1
    assert (theirs["check"], len(theirs["notifications"])) == (None, 1)

    body = {"name": "eve", "role": "viewer"}
    viewer = (await client.post("/api/api-keys", json=body, headers=KEY)).json()["secret"]
    seen = await _history(client, debtors[made.id], viewer)
    assert (seen["actions"], len(seen["blacklist"])) == (None, 5)
    assert (await client.get("/api/debtors/987654/history", headers=KEY)).status_code == 404
