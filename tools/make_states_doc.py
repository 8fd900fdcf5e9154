"""Write docs/reference/states.md from the tables of tether_core: `uv run python tools/make_states_doc.py`."""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import walk_packages

import tether_core
from tether_core import blacklist, retry
from tether_core.emp import codes
from tether_core.notifications import inbox
from tether_core.payments import attempt, stages

__all__ = ["PAGE", "text"]

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "states.md"

# What the stages are called; their numbers, order and states come from the tables.
_PAYMENT_NAMES = {
    stages.SENT: "submitted, or about to be",
    stages.UNKNOWN_TO_US: "outcome unknown to us",
    stages.IN_PROGRESS: "in progress at the gateway",
    stages.UNKNOWN_TO_GATEWAY: "outcome unknown to the gateway",
    stages.ERROR: "error",
    stages.DECLINED: "declined",
    stages.APPROVED: "approved",
    stages.VOIDED: "voided",
    stages.REFUNDED: "refunded",
}
_DISPUTE_NAMES = {
    stages.UNDISPUTED: "undisputed",
    stages.CHARGEBACKED: "charged back",
    stages.WON_BACK: "won back",
    stages.LOST_AGAIN: "lost again",
}
# Where no notification leads: our own sending does.
_OURS = {
    stages.SENT: "*our row is committed*",
    stages.UNKNOWN_TO_US: "*our call has no usable response*",
    stages.UNKNOWN_TO_GATEWAY: "`error` with a code whose outcome is unknown or may exist",
}
_OUTCOMES = {
    "refused": "no money moved",
    "unknown": "the gateway does not know: inquire by our id",
    "may_exist": "the same debit may exist: inquire first",
    "not_found": "the gateway has no such payment",
    "none_found": "the list is empty; no failure",
}
_WHO = {
    "us": "we: configuration or code",
    "data": "the row's data",
    "bank": "the debtor's side",
    "time": "time",
}
_ACTIONS = {
    "none": "the debtor stays collectable",
    "hold": "excluded until a person lifts it",
    "block": "excluded; lifting it asks for a reason",
}


def text() -> str:
    """The page."""
    return "\n".join(
        [
            "# States",
            "",
            "Every life cycle, and every table that decides what a word of the gateway means. This page is made from the tables in",
            "`tether_core` by `tools/make_states_doc.py`; so the page and the code agree.",
            "",
            *_attempt(),
            *_lives(),
            *_reasons(),
            *_errors(),
        ]
    )


def _attempt() -> list[str]:
    return [
        "## A billing attempt",
        "",
        "An attempt keeps how far it has come on two tracks (`tether_core.payments.attempt`). A notification names a stage on one of",
        "them, the attempt takes the furthest stage that was reported, and its state follows from the two stages. Arrows may be",
        "taken several at once and never back.",
        "",
        "### Payment track",
        "",
        *_track("payment", _PAYMENT_NAMES, attempt.PAYMENT_STAGES),
        "### Dispute track",
        "",
        *_track("dispute", _DISPUTE_NAMES, attempt.DISPUTE_STAGES),
        "### The state at two stages",
        "",
        *_table(
            ["payment \\ dispute", *(f"{stage} {name}" for stage, name in _DISPUTE_NAMES.items())],
            [
                [f"{stage} {name}", *(f"`{attempt.state_of(stage, each)}`" for each in _DISPUTE_NAMES)]
                for stage, name in _PAYMENT_NAMES.items()
            ],
        ),
        "### What moves nothing",
        "",
        "An event outranks the status beside it. A status or event in none of these tables is parked for a person.",
        "",
        *_table(
            ["status or event", "why"],
            [
                [f"{kind} `{word}`", step.note]
                for kind, steps in (("status", stages.STATUSES), ("event", stages.EVENTS))
                for word, step in steps.items()
                if step.track == "none"
            ],
        ),
        "### Why a notification was decided as it was",
        "",
        *_table(["reason", "meaning"], [[f"`{word}`", result] for word, result in attempt.REASONS.items()]),
    ]


def _track(track: str, names: Mapping[int, str], states: Mapping[int, str | None]) -> list[str]:
    if list(names) != sorted(states):
        raise ValueError(f"the stages of the {track} track have changed; name them in {Path(__file__).name}")
    leading = {stage: _leading(track, stage) for stage in names}
    nodes = [f'    state "{stage} {name}" as {track}{stage}' for stage, name in names.items()]
    arrows = [
        f"    {track}{before} --> {track}{after}: {', '.join(_plain(leading[after]))}"
        for before, after in pairwise(names)
    ]
    return [
        *_mermaid("stateDiagram-v2", [*nodes, f"    [*] --> {track}{next(iter(names))}", *arrows]),
        *_table(
            ["stage", "name", "state" if track == "payment" else "state it forces", "led to by"],
            [
                [str(stage), name, f"`{states[stage]}`" if states[stage] else "", ", ".join(leading[stage])]
                for stage, name in names.items()
            ],
        ),
    ]


def _leading(track: str, stage: int) -> list[str]:
    def words(steps: Mapping[str, stages.Step]) -> list[str]:
        return [f"`{word}`" for word, step in steps.items() if (step.track, step.stage) == (track, stage)]

    ours = [_OURS[stage]] if track == "payment" and stage in _OURS else []
    return [*ours, *words(stages.STATUSES), *(f"event {word}" for word in words(stages.EVENTS))]


def _plain(words: Iterable[str]) -> list[str]:
    # An event is named beside its status in the table; in the picture the status is enough.
    return [word.replace("`", "").replace("*", "") for word in words if not word.startswith("event ")]


def _lives() -> list[str]:
    """A section for each module with a table TRANSITIONS."""
    page = []
    for found in walk_packages(tether_core.__path__, "tether_core."):
        if found.name == "tether_core.testing":
            continue  # needs Hypothesis, and nothing lives there
        module = import_module(found.name)
        life = getattr(module, "TRANSITIONS", None)
        if life is None:
            continue
        summary = (module.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
        page += [
            f"## {found.name.removeprefix('tether_core.').replace('.', ': ').replace('_', ' ').capitalize()}",
            "",
            f"{summary} (`{found.name}`)",
            "",
            *_life(life),
        ]
        if causes := getattr(module, "CAUSES", None):
            page += _table(["cause", "meaning"], [[f"`{word}`", result] for word, result in causes.items()])
        if module is inbox:
            page += _retry_schedule()
    return page


def _retry_schedule() -> list[str]:
    short, long = retry.NOTIFICATION_S, retry.UNKNOWN_PAYMENT_S
    return [
        "A try that ends without a result is deferred by a retry schedule, a tenth more or less; at its end the notification is",
        "parked. A notification of an unknown payment follows the longer schedule.",
        "",
        *_table(
            ["failures", "wait", "wait for an unknown payment"],
            [
                *([str(n + 1), _wait(short[n]), _wait(long[n])] for n in range(len(short))),
                [
                    f"{len(short) + 1} to {len(long)}",
                    "parked",
                    " or ".join(sorted({_wait(each) for each in long[len(short) :]})),
                ],
                [f"{len(long) + 1}", "parked", "parked"],
            ],
        ),
    ]


def _reasons() -> list[str]:
    groups = {
        action: [code for code, policy in blacklist.REASONS.items() if policy.action == action]
        for action in _ACTIONS
    }
    return [
        "## Why money went back",
        "",
        "What a reason code of the scheme means for the next debit (`tether_core.blacklist`), by version 0 of the",
        "[return policy](../guides/return-policy.md). `TETHER_BLACKLIST_CODES` replaces the set that blocks; a code with the action hold keeps it unless that set has the code. A code in no table blocks nobody and",
        "is shown to a person.",
        "",
        *_mermaid(
            "flowchart LR",
            [
                "    back([charged back]) --> code{reason code}",
                *(
                    f'    code -- "{_lines(listed)}" --> to_{action}["{action}: {_ACTIONS[action]}"]'
                    for action, listed in groups.items()
                ),
                '    code -- "none given, or unknown" --> to_none',
            ],
        ),
        *_table(
            ["code", "action", "about", "tries more", "meaning"],
            [
                [f"`{code}`", policy.action, policy.scope, str(policy.retries), policy.meaning]
                for code, policy in blacklist.REASONS.items()
            ],
        ),
    ]


def _errors() -> list[str]:
    groups = {
        outcome: [code for code, meaning in codes.ERRORS.items() if meaning.outcome == outcome]
        for outcome in _OUTCOMES
    }
    listed = [
        [f"`{code}`", meaning.outcome, _WHO[meaning.who], meaning.text]
        for code, meaning in codes.ERRORS.items()
    ]
    groups_of_codes = []
    for digit in "0123456789":
        # A code of the group that no table lists.
        free = next(f"{digit}{n:02}" for n in range(99, 0, -1) if f"{digit}{n:02}" not in codes.ERRORS)
        meaning = codes.error_meaning(free)
        groups_of_codes.append([f"other {digit}xx", meaning.outcome, _WHO[meaning.who], meaning.text])
    return [
        "## Error codes of the gateway",
        "",
        "What a code says about the debit, and who acts next (`tether_core.emp.codes`). A code that is not listed is read by its",
        "first digit; 95x counts as unknown.",
        "",
        *_mermaid(
            "flowchart LR",
            [
                "    error([error]) --> code{code}",
                *(
                    f'    code -- "{_lines(found)}" --> to_{outcome}["{outcome}: {_OUTCOMES[outcome]}"]'
                    for outcome, found in groups.items()
                ),
            ],
        ),
        *_table(["code", "outcome", "who acts", "meaning"], [*listed, *groups_of_codes]),
    ]


def _life(life: Mapping[str, Mapping[str, str]]) -> list[str]:
    reached = {after for before, steps in life.items() for after in steps.values() if after != before}
    start = [state for n, state in enumerate(life) if n == 0 or state not in reached]
    arrows = []
    for before, steps in life.items():
        for after in dict.fromkeys(steps.values()):
            taken = ", ".join(word for word, target in steps.items() if target == after)
            arrows.append(f"    {before} --> {after}: {taken}")
    ends = [f"    {state} --> [*]" for state, steps in life.items() if set(steps.values()) <= {state}]
    words = list(dict.fromkeys(word for steps in life.values() for word in steps))
    return [
        *_mermaid("stateDiagram-v2", [*(f"    [*] --> {state}" for state in start), *arrows, *ends]),
        *_table(
            ["state \\ step", *words],
            [
                [f"`{state}`", *(f"`{steps[word]}`" if word in steps else "" for word in words)]
                for state, steps in life.items()
            ],
        ),
    ]


def _wait(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _lines(words: Sequence[str]) -> str:
    """Words with a break after every sixth, so that a label stays narrow."""
    return "<br>".join(" ".join(words[at : at + 6]) for at in range(0, len(words), 6))


def _mermaid(kind: str, lines: Iterable[str]) -> list[str]:
    return ["```mermaid", kind, *lines, "```", ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
