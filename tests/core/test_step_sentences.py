"""Refused steps and verdicts are sentences: a capital, a full stop, and what to do or when."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from datetime import date
from typing import Any, get_args

import pytest
from tether_core import holds, step_sentences
from tether_core.billing import eligibility, run
from tether_core.errors import ConflictingContent, IllegalStep, InvalidIban, MoneyHeld
from tether_core.notifications import inbox
from tether_core.payments import attempt, returns, submission
from tether_core.recurring import due_item, mandate, pre_notification, schedule
from tether_core.refunds import allowance, refund, run_voids
from tether_core.refunds.allowance import Allowance, RefundKind
from tether_core.subscribers import delivery, subscriber
from tether_core.uploads import problems, upload, withdrawal

LIVES: dict[str, dict[Any, dict[Any, Any]]] = {
    "file upload": upload.TRANSITIONS,
    "notification": inbox.TRANSITIONS,
    "billing run": run.TRANSITIONS,
    "debit to send": submission.TRANSITIONS,
    "subscriber": subscriber.TRANSITIONS,
    "delivery": delivery.TRANSITIONS,
    "mandate": mandate.TRANSITIONS,
    "schedule": schedule.TRANSITIONS,
    "collection plan": schedule.TRANSITIONS,
    "due item": due_item.TRANSITIONS,
    "pre-notification": pre_notification.TRANSITIONS,
}
# What people ask for beside the steps of a life cycle: subject, state, step as the routes and the core name them.
ASKED: list[tuple[str, str, str]] = [
    *(
        ("upload", state, step)
        for state in (*upload.TRANSITIONS, "dry_run")
        for step in ("billed", "checked")
    ),
    ("blacklist entry", "lifted", "lifted"),
    *(("reconciliation difference", state, "acknowledged") for state in ("acknowledged", "resolved")),
    *(("refund or void", state, "ordered again") for state in get_args(refund.RefundState)),
    ("billing attempt", "disputed", "refunded again"),
    *(
        ("billing attempt", f"{kind} ordered", step)
        for kind in ("refund", "void")
        for step in ("refunded", "voided")
    ),
]
# Verbs with which a sentence says what to do, and words that say when.
DO = re.compile(
    r"\b(Activate|Add|Answer|Cancel|Compare|Keep|Look|Mend|Nothing is left to do|Order|Pause|Read|Refund|Replay|Resume|Send|Use|Wait|before [0-9]{4}-)",
    re.IGNORECASE,
)


def is_sentence(text: str) -> bool:
    """Whether a text has the form of a sentence: a capital, a full stop, no brackets left open, no word for programs."""
    return (
        bool(re.fullmatch(r"[A-Z][^{}_]*\.", text, re.DOTALL))
        and "  " not in text
        and text.count("(") == text.count(")")
        and "None" not in text.split()
        and not re.search(r"\b(is|are|was) (is|are|was|has|waits)\b", text)
    )


def every_step() -> list[IllegalStep]:
    """Every step that a life cycle does not have, and every refusal that a route makes."""
    found = [IllegalStep(subject, state=state, step=step) for subject, state, step in ASKED]
    for subject, life in LIVES.items():
        steps = {step: None for handling_returns in life.values() for step in handling_returns}
        found += [
            IllegalStep(subject, state=state, step=step)
            for state, handling_returns in life.items()
            for step in steps
            if step not in handling_returns
        ]
    return found


@pytest.mark.parametrize(
    "error", every_step(), ids=lambda error: f"{error.subject} {error.state} {error.step}"
)
def test_a_refused_step_says_what_to_do(error: IllegalStep) -> None:
    """'A billing attempt that is return window cannot be refunded' tells nobody what to do."""
    text = str(error)
    assert is_sentence(text), text
    assert DO.search(text), text
    assert "so it cannot be " in text


def test_every_state_of_every_life_has_its_words() -> None:
    """A new state would be shown by its internal name."""
    for subject, life in LIVES.items():
        known = step_sentences.STATES[
            {"file upload": "upload", "debit to send": "debit"}.get(subject, subject)
        ]
        assert set(life) <= set(known), subject
    assert set(get_args(refund.RefundState)) == set(step_sentences.STATES["refund or void"])


def test_a_subject_nobody_knows_is_a_sentence_too() -> None:
    """A new life cycle must work without an entry in the table."""
    text = str(IllegalStep("thing", state="half_done", step="ended"))
    assert (
        text == "This thing is half done, so it cannot be ended. Look at its state, and try what that allows."
    )


@pytest.mark.parametrize("kind", get_args(RefundKind))
def test_every_verdict_on_a_refund_or_void_is_a_sentence(kind: RefundKind) -> None:
    """A person who is refused money back, for a customer on the telephone, must know when it is possible."""
    whys = set(get_args(allowance.VoidWhy))
    if kind == "refund":
        whys = set(re.findall(r'Allowance\((?:True|False), "([^"]+)"\)', inspect.getsource(allowance.judge)))
        whys |= set(get_args(inspect.get_annotations(returns.RefundAllowed, eval_str=True)["why"]))
    assert len(whys) > 4
    for why in whys:
        allowed = why in {"collected", "sent today"}
        text = allowance.sentence(
            kind, Allowance(allowed, why, date(2026, 12, 8) if why == "return window" else None)
        )
        assert is_sentence(text), text
        assert allowed or DO.search(text), text


def test_a_refund_within_the_return_window_says_from_when() -> None:
    """The day is what the person needs."""
    verdict = Allowance(False, "return window", date(2026, 12, 8))
    assert allowance.sentence("refund", verdict) == (
        "This attempt cannot be refunded before 2026-12-08: the bank may still return it."
    )


@pytest.mark.parametrize(
    "reported",
    [
        holds.Reported(dispute=True),
        holds.Reported(returned=True),
        holds.Reported(failed=True),
        holds.Reported(gateway_refund=True),
        holds.Reported(difference="state_differs"),
    ],
    ids=["dispute", "returned", "failed", "gateway refund", "difference"],
)
def test_every_hold_is_a_sentence(reported: holds.Reported) -> None:
    """What keeps money where it is must say until when, or who ends it."""
    hold = holds.refund_hold(reported)
    assert hold is not None
    for text in (hold.sentence, str(MoneyHeld(hold.code, why=hold.text, step="refunded"))):
        assert re.fullmatch(r"[A-Z].*\.", text), text
        assert re.search(r"try again in some minutes|look at|must be acknowledged", text), text


TABLES: dict[str, list[str]] = {
    "debits that run voids leave": list(run_voids.VOID_REFUSALS.values()),
    "causes of submissions": list(submission.CAUSES.values()),
    "reasons of notifications": list(attempt.REASONS.values()),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_text_of_a_table_is_a_sentence(name: str) -> None:
    """Reports, lists and logs show these texts to people."""
    for text in TABLES[name]:
        assert re.fullmatch(r"[A-Z].*\.", text, re.DOTALL), text


def test_conflicts_and_withdrawals_say_what_to_do() -> None:
    """They are the refusals that people meet at the end of a month."""
    refusal = problems.give_up(upload.RowCounts(rows=10_000, refused=10_000))
    assert refusal is not None
    texts = [
        str(ConflictingContent("upload", key="u-7")),
        str(withdrawal.NotWithdrawable(7, withdrawal.Submissions(submitted=1))),
        str(withdrawal.NotWithdrawable(7, withdrawal.Submissions(uncertain=2))),
        str(withdrawal.NotWithdrawable(7, withdrawal.Submissions(reviewing=True))),
        str(run_voids.RunNotVoidable("running")),
        refusal.why,
        problems.note(problems.KeptCounts(unlisted_rows=2)),
    ]
    for text in texts:
        assert re.fullmatch(r"[A-Z0-9].*\.", text), text
        assert DO.search(text) or "try" in text, text


def _returned_texts(rule: Any) -> list[list[str | None]]:
    """The texts that a rule returns, each in parts; `None` for a part that is a value."""
    values: list[ast.expr | None] = [
        node.value
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(rule))))
        if isinstance(node, ast.Return)
    ]
    values += [
        item for value in values if isinstance(value, ast.IfExp) for item in (value.body, value.orelse)
    ]
    found: list[list[str | None]] = []
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.append([value.value])
        if isinstance(value, ast.JoinedStr):
            found.append(
                [str(item.value) if isinstance(item, ast.Constant) else None for item in value.values]
            )
    return found


@pytest.mark.parametrize("code", eligibility.VERDICTS)
def test_every_verdict_of_a_debtor_is_a_sentence(code: str) -> None:
    """It stands beside the name in the list of those that a run leaves out."""
    for parts in _returned_texts(eligibility.VERDICTS[code]):
        first, last = parts[0], parts[-1]
        assert first is None or re.match(r"[A-Z ]", first), parts
        assert last is not None, parts
        assert last.endswith("."), parts


def test_a_wrong_iban_ends_with_one_full_stop() -> None:
    """The sentence of an error is put into the verdict as it is."""
    assert str(InvalidIban("DE**", why="too short")) == str(InvalidIban("DE**", why="too short."))
