"""States that SQL writes: each is a step of the subject's `TRANSITIONS`, as every step in Python is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import pytest
from tether_core import bulk_orders, vop
from tether_core.billing import run
from tether_core.notifications import inbox
from tether_core.payments import attempt
from tether_core.reconciliation import gateway_refunds
from tether_core.recurring import due_item, mandate, pre_notification, schedule
from tether_core.refunds import refund, run_voids
from tether_core.subscribers import delivery, subscriber
from tether_core.uploads import upload
from tether_stores import queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FOLDER = Path(queries.__file__).parent
# Table -> its transitions, and the states in which its rows begin.
LIFE_CYCLES: Final[dict[str, tuple[Mapping[Any, Mapping[Any, Any]], set[str]]]] = {
    "billing_runs": (run.TRANSITIONS, {"planning"}),
    "collection_plans": (schedule.TRANSITIONS, {"active"}),
    "collection_schedules": (schedule.TRANSITIONS, {"active"}),
    "mandates": (mandate.TRANSITIONS, {"active"}),
    "pre_notifications": (pre_notification.TRANSITIONS, {"made"}),
    "run_voids": (run_voids.TRANSITIONS, {"working"}),
    "bulk_orders": (bulk_orders.TRANSITIONS, {"working"}),
    "deliveries": (delivery.TRANSITIONS, {"waiting"}),
    "subscribers": (subscriber.TRANSITIONS, {"active"}),
    "uploads": (upload.TRANSITIONS, {"received"}),
    "vop_checks": (vop.TRANSITIONS, {"waiting"}),
    "check_file_rows": (vop.TRANSITIONS, {"waiting"}),
    "webhook_events": (inbox.TRANSITIONS, {"waiting", "conflicting"}),
}
# Tables whose state follows from stages or from the gateway's words; SQL may write only known words.
KNOWN: Final[dict[str, set[str]]] = {
    "billing_attempts": set(get_args(attempt.AttemptState)),
    "refunds": set(get_args(refund.RefundState)),
    "gateway_refunds": set(get_args(gateway_refunds.GatewayRefundState)),
}
# Items begin in the state that the clock decides: tether_core.recurring.schedule.
KNOWN["due_items"] = set(due_item.TRANSITIONS)
# The probe's insert is rolled back; its row must not be due for the moment in which it exists.
ROLLED_BACK: Final = {("notifications/webhook_events", "probe")}

_UPDATE: Final = re.compile(r"\bupdate (\w+)(?: (?:as )?(\w+))?\s+set\s(.*)", re.DOTALL)
_INSERT: Final = re.compile(
    r"\binsert into (\w+)(?: as \w+)? \(([^()]*)\)\s*(?:values \(|select\s)(.*)", re.DOTALL
)
_LITERAL: Final = re.compile(r"'([a-z_]+)'")


def _queries() -> Iterator[tuple[str, str, str]]:
    for path in sorted(FOLDER.rglob("*.sql")):
        name = path.relative_to(FOLDER).as_posix().removesuffix(".sql")
        if not name.startswith("sql/"):
            for query, text in queries.load(name).items():
                yield name, query, text


def _at_top(text: str, *, until: str) -> str:
    """The part of *text* before the first of the words *until* outside brackets, or before the bracket that closes around it."""
    depth = 0
    for found in re.finditer(rf"[()]|\b(?:{until})\b", text):
        if found[0] == "(":
            depth += 1
        elif found[0] == ")":
            depth -= 1
        if depth < 0 or (depth == 0 and found[0] not in "()"):
            return text[: found.start()]
    return text


def _items(text: str) -> list[str]:
    """The parts of a list between commas outside brackets."""
    items, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return [item.strip() for item in items]


def updates(text: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Each update of a `state` to literals: the table, the states before if the condition names them, and those after."""
    for start in re.finditer(r"\bupdate \w", text):
        found = _UPDATE.match(text, start.start())
        if found is None:
            continue  # `for update` of a select
        table, alias, rest = found[1], found[2] if found[2] != "set" else None, found[3]
        assigned = _at_top(rest, until="from|where|returning")
        (value,) = [item for item in _items(assigned) if item.startswith("state = ")] or [""]
        after = {
            word for part in re.split(r"\bcase when\b.*?\bthen\b", value) for word in _LITERAL.findall(part)
        }
        condition = _at_top(rest[len(assigned) :].partition("where")[2], until="returning")
        own = rf"(?<![\w.]){alias}\.state" if alias else r"(?<![\w.])state"
        before = set()
        for words in re.findall(rf"{own} (?:= |in \()((?:'[a-z_]+'(?:, )?)+)", condition):
            before |= set(_LITERAL.findall(words))
        if after:
            yield table, before, after


def inserts(text: str) -> Iterator[tuple[str, set[str]]]:
    """Each insert with a `state`: the table and the literals that it may get."""
    for start in re.finditer(r"\binsert into \w", text):
        found = _INSERT.match(text, start.start())
        if found is None:
            continue
        columns = _items(found[2])
        if "state" in columns:
            values = _items(_at_top(found[3], until="from|on conflict|returning"))
            yield found[1], set(_LITERAL.findall(values[columns.index("state")]))


def test_sql_takes_only_steps_that_the_core_allows() -> None:
    """A step that only SQL knows is in no diagram and no test of the core: a row could leave a state that has no way out."""
    wrong, seen = [], set()
    for file, name, text in _queries():
        for table, before, after in updates(text):
            seen.add(table)
            if table in LIFE_CYCLES:
                cycle = LIFE_CYCLES[table][0]
                for target in after:
                    ways = {state for state, steps in cycle.items() if target in steps.values()}
                    if not ways or not before <= ways:
                        wrong.append(
                            f"{file}: {name} sets {table}.state from {sorted(before) or 'any'} to {target!r}"
                        )
            elif not after <= KNOWN.get(table, set()):
                wrong.append(
                    f"{file}: {name} sets {table}.state to one of {sorted(after)}; add the table here"
                )
    assert wrong == []
    assert {"webhook_events", "vop_checks", "run_voids"} <= seen


def test_rows_begin_in_a_state_that_the_core_names() -> None:
    """A row that begins in the middle of its life has skipped what the states before it are for."""
    wrong, seen = [], set()
    for file, name, text in _queries():
        for table, words in inserts(text):
            seen.add(table)
            known = LIFE_CYCLES[table][1] if table in LIFE_CYCLES else KNOWN.get(table, set())
            if not words <= known and (file, name) not in ROLLED_BACK:
                wrong.append(f"{file}: {name} begins {table} in {sorted(words)}, not in {sorted(known)}")
    assert wrong == []
    assert set(LIFE_CYCLES) <= seen


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("update a set state = 'x', n = 1 where id = 1", [("a", set(), {"x"})]),
        (
            "update a t set n = 1, state = 'x' from b where t.state in ('y', 'z') and b.state = 'w'",
            [("a", {"y", "z"}, {"x"})],
        ),
        (
            "update a set state = case when state = 'q' then 'x' else 'y' end where state = 'z'",
            [("a", {"z"}, {"x", "y"})],
        ),
        ("select 1 from a for update of a", []),
    ],
)
def test_the_states_of_an_update_are_found(text: str, found: list[tuple[str, set[str], set[str]]]) -> None:
    """A rule that finds nothing holds for everything."""
    assert list(updates(text)) == found
