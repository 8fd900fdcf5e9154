"""A played quarter: the jobs of the worker and the web on one clock that is moved, and the conservation check at its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
from standardwebhooks import Webhook
from tether_sandbox.receiver import serve
from tether_sandbox.year.clock import YearClock
from tether_sandbox.year.script import YearScript

if TYPE_CHECKING:
    from tether_sandbox.services.program import Launch

_COUNTS = {
    "due": r"^(\d+) due items",
    "due_s": r"latest was made (\d+) s after",
    "notice_s": r"pre-notification was given (\d+) s after",
    "debits": r"^(\d+) debits, (?:\d+) of them further",
    "further": r"debits, (\d+) of them further tries",
    "returns": r"^(\d+) returns",
    "refused": r"notifications, (\d+) of them refused at first",
    "failed": r"two subscribers, (\d+) of them failed",
}


def test_a_quarter_is_collected_and_everybody_has_the_same(process: Launch) -> None:
    """
    Each step of recurring collection may be right, and still a due date fall between two of them, or an event between two systems.

    A due item or a pre-notification comes within 60 s of being due.
    """
    program = process("tether-sandbox", "demo", "--year", "--days", "92", "--debtors", "8", environ={})
    code = program.wait(timeout_s=560)
    output = program.stdout
    assert code == 0, output + program.stderr
    assert "✗" not in output
    found = {name: re.search(pattern, output, re.MULTILINE) for name, pattern in _COUNTS.items()}
    assert None not in found.values(), output
    counts = {name: int(match[1]) for name, match in found.items() if match}
    # Three due dates of each debtor, and the items of a further one are made within the notice.
    assert counts["due"] >= 8 * 3
    assert counts["debits"] >= 8 * 3 - 4
    assert counts["due_s"] <= 60
    assert counts["notice_s"] <= 60
    assert all(counts[name] > 0 for name in ("further", "returns", "refused", "failed")), counts


async def test_a_receiver_on_a_moved_clock_still_refuses_old_signatures() -> None:
    """A receiver that accepts every signature would make the year's line about signatures worthless."""
    began_at = YearScript(days=92, debtors=4, seed=1).began_at
    clock, secret = YearClock(began_at), "whsec_" + "c2VjcmV0" * 4
    body = '{"type": "t", "data": {}}'
    headers = {
        "webhook-id": "evt_1_a",
        "webhook-timestamp": str(int(began_at.timestamp())),
        "webhook-signature": Webhook(secret).sign("evt_1_a", began_at, body),
    }
    async with (
        serve(secrets=[secret], clock=clock) as receiver,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        for change in ({}, {"webhook-id": "evt_2_a"}, {"webhook-timestamp": "nonsense"}):
            await client.post(receiver.url, content=body, headers=headers | change)
        clock.move_to(began_at.replace(hour=began_at.hour + 1))
        await client.post(receiver.url, content=body, headers=headers)
    assert [item.verified_by for item in receiver.received] == [(0,), (), (), ()]
