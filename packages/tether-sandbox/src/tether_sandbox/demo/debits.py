"""Debits, the second part of the demo: billing through a gateway that does not always respond, and voids."""

import random
from collections import Counter
from typing import Any, Final

from rich.console import Console

from tether_sandbox.conservation import BooksLine
from tether_sandbox.demo.files import upload_file
from tether_sandbox.demo.notifications import check_table
from tether_sandbox.demo.stage import Stage
from tether_sandbox.seed import made_up_iban
from tether_sandbox.services.waiting import until

__all__ = ["debtors_csv", "run"]

_DEBTORS: Final = 150
_VOIDS: Final = 4
# The last digits of an amount choose what the simulator does, see `tether-sandbox gateway scripts`: declined later, rejected
# by the bank, charged back with a reason, charged back and reversed, and lost responses to debits that were taken.
_SCRIPTED: Final = (5, 6, 11, 14, 15, 16, 20, 31, 32, 33)
_FIRST: Final = ("Jürgen", "Zoë", "Łukasz", "Ana María", "Noël", "Søren")
_LAST: Final = ("Müller", "Weiß", "Kowalska", "Núñez", "Lefèvre", "Åberg")


def run(stage: Stage, *, seed_number: int, console: Console) -> bool:
    """
    Upload a file, bill it, wait for the results, void some debits, and compare with the gateway's ledger.

    Returns:
        Whether the gateway's ledger and Tether's attempts agree, to the cent.
    """
    upload = upload_file(stage, "mitglieder.csv", debtors_csv(random.Random(seed_number)))["upload"]
    answer = stage.api.post(
        f"/api/uploads/{upload['id']}/billing", json={"due_item": "demo", "usage": "Beitrag"}
    )
    answer.raise_for_status()
    run_id = answer.json()["id"]

    def submitted() -> dict[str, Any] | None:
        payload: dict[str, Any] = stage.api.get(f"/api/billing-runs/{run_id}").json()
        under_way = sum(payload["steps"].get(step, {"count": 0})["count"] for step in ("ready", "submitting"))
        return (
            payload
            if payload["run"]["count"] and payload["run"]["state"] != "planning" and not under_way
            else None
        )

    with console.status("billing ..."):
        until(submitted, what="all debits to be submitted", timeout_s=40)
        stage.gateway.resolve()
        until(lambda: _agreeing(stage, run_id), what="Tether to agree with the gateway", timeout_s=60)
    with console.status("voiding some debits ..."):
        voided = _voided(stage)
        detail = until(
            lambda: _agreeing(stage, run_id), what="Tether to agree with the gateway again", timeout_s=60
        )
    assert detail is not None
    lines = _lines(stage, detail, upload=upload, voided=voided)
    console.print(check_table("Debits: the gateway's ledger and Tether's attempts", lines))
    return all(line.holds for line in lines)


def debtors_csv(rng: random.Random) -> bytes:
    """A spreadsheet as an association exports it: a title above the table, grouped IBANs, decimal commas, Windows-1252."""
    lines = ["Beiträge 2026;;", ";;", "Kontoinhaber;IBAN;Beitrag (€)"]
    for place in range(_DEBTORS):
        amount_minor = rng.randrange(2, 90) * 1000 + rng.randrange(900)
        if place % 8 == 0:
            amount_minor = amount_minor // 1000 * 1000 + 900 + _SCRIPTED[place // 8 % len(_SCRIPTED)]
        iban = made_up_iban(rng)
        grouped = " ".join(iban[at : at + 4] for at in range(0, len(iban), 4))
        # Windows-1252 has no Ł.
        name = f"{rng.choice(_FIRST)} {rng.choice(_LAST)}".replace("Ł", "L")
        lines.append(f"{name};{grouped};{amount_minor // 100},{amount_minor % 100:02d}")
    return ("\r\n".join(lines) + "\r\n").encode("cp1252")


def _voided(stage: Stage) -> int:
    """Void some approved debits, with two requests for each; returns how many were accepted."""
    found = stage.api.get("/api/billing-attempts", params={"status": "approved", "limit": _VOIDS})
    orders = [f"/api/billing-attempts/{item['id']}/void" for item in found.raise_for_status().json()["items"]]
    answers = [stage.api.post(order, json={}).status_code for order in orders * 2]

    def done() -> bool:
        pages = [stage.api.get("/api/refunds", params={"status": state}) for state in ("pending", "unknown")]
        return not any(page.json()["items"] for page in pages)

    def applied() -> bool:
        return not stage.api.get("/api/webhook-events", params={"status": "waiting"}).json()["items"]

    until(done, what="the voids", timeout_s=40)
    stage.gateway.resolve()
    until(applied, what="the notifications of the voids", timeout_s=40)
    return answers.count(202)  # none after midnight: a debit can be voided only on its day


def _agreeing(stage: Stage, run_id: int) -> dict[str, Any] | None:
    """The run once its states agree with the gateway's ledger, else `None`."""
    payload: dict[str, Any] = stage.api.get(f"/api/billing-runs/{run_id}").json()
    ours = {state: (some["count"], some["amount_minor"]) for state, some in payload["states"].items()}
    return payload if ours == _theirs(stage) else None


def _theirs(stage: Stage) -> dict[str, tuple[int, int]]:
    """Number and sum of the gateway's debits, by Tether's states."""
    counts, sums = Counter[str](), Counter[str]()
    for record in _debits(stage):
        state = _STATES.get(record["status"], record["status"])
        counts[state] += 1
        sums[state] += record["order"]["amount_minor"]
    return {state: (counts[state], sums[state]) for state in counts}


def _debits(stage: Stage) -> list[dict[str, Any]]:
    """The gateway's records without refunds and voids."""
    return [
        record for record in stage.gateway.records() if record["order"]["type"] not in {"sdd_refund", "void"}
    ]


_STATES: Final = {
    "chargeback_reversed": "approved",
    "pending_async": "pending",
    "second_chargebacked": "chargebacked",
}


def _lines(stage: Stage, detail: dict[str, Any], *, upload: dict[str, Any], voided: int) -> list[BooksLine]:
    theirs, states = _theirs(stage), detail["states"]
    sums = stage.gateway.sums()
    zero = {"count": 0, "amount_minor": 0}
    owed = upload["row_counts"]
    lines = [
        BooksLine("debtors = debits planned", owed["stored"], detail["run"]["count"]),
        BooksLine("cents owed = cents planned", owed["amount_minor"], detail["run"]["amount_minor"]),
        BooksLine(
            "transaction ids = debits at gateway",
            len({r["order"]["transaction_id"] for r in _debits(stage)}),
            len(_debits(stage)),
        ),
        BooksLine("debited twice", 0, len(sums["debited_twice"])),
        BooksLine("voided, each once", voided, sums["refunded"].get("void", {"orders": 0})["orders"]),
        BooksLine("refunded and charged back", 0, len(sums["refunded_and_charged_back"])),
    ]
    for state in sorted(theirs):
        count, amount_minor = theirs[state]
        lines.append(BooksLine(f"{state}", count, states.get(state, zero)["count"]))
        lines.append(BooksLine(f"{state}, cents", amount_minor, states.get(state, zero)["amount_minor"]))
    lines.append(
        BooksLine(
            "cents planned = sum of all states",
            detail["run"]["amount_minor"],
            sum(some["amount_minor"] for some in states.values()),
        )
    )
    return lines
