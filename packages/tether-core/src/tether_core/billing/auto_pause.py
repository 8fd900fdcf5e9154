"""
The auto-pause: when too many debits fail or are returned, warn a person, and then pause the run until a person has checked it.

A run over a wrong list, or without mandates, shows in two ways: immediately, in debits that the gateway refuses; and some days later, in
returned debits. Both are shares and are checked the same way: too few debits decide nothing; from one share on a person is warned; from a
higher share on the run is paused.

| gauge | counted | bad | warn | pause |
|---|---|---|---|---|
| refusals | debits that the gateway answered | declined or in error | 20 % | 50 % |
| canaries | the first share of a run, answered | declined or in error | 20 % | 50 % |
| small runs | debits of the last small runs of the account, 50 at least, answered | declined or in error | 20 % | 50 % |
| returns | debits that were collected | charged back and not won back | 15 % | 30 % |

Returns are counted for the upload and for the whole account, since schemes and acquirers count by account. A return for
a reason of the acquirer's own (XT33, XT73) is excluded from both counts.

A debit is answered when the gateway has accepted or refused it. An accepted one that is declined later counts as refused from
then on, and is not counted a second time.

**Refusals are judged by every claim** (`refusals`), in the transaction that claims the next debits: once the refusal that reaches
the threshold is recorded, nothing more of the run is claimed, and only the calls in flight follow it. Refusals of other runs of
the upload count as well, where much of such a run was refused, for `COUNTED_FOR` after its last refusal. Otherwise a cancelled run over a
wrong list could be ordered again with a count of zero.

**Small runs are judged together** (`small_runs`). A run of fewer than 20 debits decides nothing by itself, so a wrong list that is cut into small
files would be billed to its end. Such a run is judged with the small runs of its account that were ordered before it: those that were first
answered last, until 50 answers are counted. A run counts for `COUNTED_FOR` after its first answer, so that debits that are declined some days later do
not add up, and only while it has fewer than 20 answers; from then on it has its own gauge. Runs of 20 debits or more are not paused for
others. Runs that were ordered later count nothing: good ones must not hide what went before. A run whose debits are all answered is not
judged by others: pausing it would stop nothing.

A person who resumes a run, or releases the refusals of its upload, has accepted the refusals so far: counting **restarts** from there, and
the runs of the upload are no longer judged by small runs before them (`small_runs_accepted`). Nothing of other uploads is released. For
the other gauges the accepted share is stored (`released_share`); they act again when the share has grown by `STEP` beyond it.

>>> from datetime import UTC
>>> look(REFUSALS, counted=200, bad=110)
Look(level='pause', share=0.55, text='110 of 200 debits that were answered were declined or in error (55.0 %).')
>>> look(RETURNS, counted=10, bad=9).level     # too few to decide
'go'
>>> look(REFUSALS, counted=200, bad=110, released_share=0.55).level
'warn'
>>> refused = RunCounts(7, answered=30, refused=30, refused_at=datetime(2026, 3, 2, 12, tzinfo=UTC))
>>> refusals(8, [refused], now=datetime(2026, 3, 2, 13, tzinfo=UTC)).text
'30 of 30 debits that were answered were declined or in error (100.0 %), those of run 7 of the same upload among them.'
>>> refusals(8, [refused], now=datetime(2026, 3, 3, 13, tzinfo=UTC)).level
'go'
>>> small_runs(None, [RunCounts(run_id, answered=10, refused=9) for run_id in (9, 8, 7, 6, 5, 4)]).text
'45 of 50 debits that were answered in the last small runs of the account were declined or in error (90.0 %): runs 9, 8, 7, 6, 5.'
>>> look(RETURNS, counted=5, bad=6)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: bad must be at most the number of debits.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest

__all__ = [
    "ACCOUNT_DAYS",
    "CANARIES",
    "COUNTED_FOR",
    "EXCLUDED",
    "REFUSALS",
    "RETURNS",
    "RUNS_MAX",
    "SMALL_RUNS",
    "STEP",
    "Counts",
    "Gauge",
    "Level",
    "Look",
    "RunCounts",
    "is_small",
    "look",
    "looks",
    "refusals",
    "small_runs",
    "worst",
]

Level = Literal["go", "warn", "pause"]

# Internal reasons of the acquirer, which do not depend on debtors or lists.
EXCLUDED: Final = frozenset({"XT33", "XT73"})
# Days over which returns of an account are counted: most come within five banking days, nearly all within 8 weeks.
ACCOUNT_DAYS: Final = 60
# How long refusals of other runs of an upload count. A list that is corrected the next day is a different list.
COUNTED_FOR: Final = timedelta(hours=24)
# The share must grow by this much before a released auto-pause acts again.
STEP: Final = 0.05


class Gauge(msgspec.Struct, frozen=True):
    """
    One share that the auto-pause checks, and its thresholds.

    Attributes:
        counted: Name of the counted debits.
        bad: Name of the failed ones.
        counted_min: With fewer debits the gauge decides nothing.
        warn_share: From this share on a person is warned.
        pause_share: From this share on the run is paused.
    """

    counted: str
    bad: str
    counted_min: int
    warn_share: float
    pause_share: float


# Refusals are immediate: twenty answers arrive within a second, so a run over a wrong list stops early.
REFUSALS: Final = Gauge("debits that were answered", "declined or in error", 20, 0.20, 0.50)
# Canaries are submitted as a check, so even a few of them decide.
CANARIES: Final = msgspec.structs.replace(REFUSALS, counted="canaries that were answered", counted_min=1)
# Single debits that are declined as usual come in rows by chance, and each new run is judged anew: with 20 answers a thousand runs of one debit, a
# quarter of them declined, would pause on nearly every day; with 50 on hardly any (decision 0087).
SMALL_RUNS: Final = msgspec.structs.replace(
    REFUSALS, counted="debits that were answered in the last small runs of the account", counted_min=50
)
# How many runs, of all accounts, are looked through for small ones of the account, which bounds what a claim reads.
RUNS_MAX: Final = 1_000
# Returns arrive later. 30 % was the alarm of the previous system; schemes monitor a creditor at much lower shares.
RETURNS: Final = Gauge("debits that were collected", "charged back", 20, 0.15, 0.30)


class Look(msgspec.Struct, frozen=True):
    """
    The result of a gauge.

    Attributes:
        level: "go", "warn" or "pause".
        share: The bad share, 0.0 where nothing is counted.
        text: The numbers, as a sentence; "" with too few debits.
    """

    level: Level
    share: float
    text: str


def look(gauge: Gauge, *, counted: int, bad: int, released_share: float = 0.0) -> Look:
    """
    Evaluate a gauge.

    Args:
        gauge: Which.
        counted: How many debits are counted.
        bad: How many of them are bad.
        released_share: The share that a person has released; 0.0 for none.

    Returns:
        What it shows.

    Raises:
        InvalidRequest: when more are bad than counted.
    """
    if not 0 <= bad <= counted:
        raise InvalidRequest("must be at most the number of debits", field="bad")
    share = bad / counted if counted else 0.0
    if counted < gauge.counted_min or share < gauge.warn_share:
        return Look("go", share, "")
    text = f"{bad} of {counted} {gauge.counted} were {gauge.bad} ({share * 100:.1f} %)."
    released = released_share > 0 and share < released_share + STEP
    return Look("pause" if share >= gauge.pause_share and not released else "warn", share, text)


class RunCounts(msgspec.Struct, frozen=True):
    """
    How the gateway has answered to a run.

    Attributes:
        run_id: The run.
        answered: Debits that the gateway has accepted or refused.
        refused: Of these, declined or in error.
        canaries_answered: Canaries that were answered.
        canaries_refused: Of these, declined or in error.
        refused_at: When the last refusal was recorded; `None` where there was none.
        released_answered: How many were answered when a person last looked.
        released_refused: How many were refused then.
        released_at: When that was; `None` where nobody had to look.
        released_by: Who looked.
        released_reason: Why the runs of the upload may go on.
        small_runs_accepted: Whether a person has accepted the small runs before it.
    """

    run_id: int
    answered: int = 0
    refused: int = 0
    canaries_answered: int = 0
    canaries_refused: int = 0
    refused_at: datetime | None = None
    released_answered: int = 0
    released_refused: int = 0
    released_at: datetime | None = None
    released_by: str | None = None
    released_reason: str | None = None
    small_runs_accepted: bool = False

    @property
    def since_release(self) -> tuple[int, int]:
        """Debits answered and refused that no person has seen yet."""
        refused = max(self.refused - self.released_refused, 0)
        # A debit that was accepted before the release may be declined after it.
        return max(self.answered - self.released_answered, refused), refused


def refusals(
    run_id: int, counts: Sequence[RunCounts], *, small: Sequence[RunCounts] = (), now: datetime
) -> Look:
    """
    Look at the refusals of a run, of the other runs of its upload, and of the small runs before it.

    Args:
        run_id: The run.
        counts: Of the run, where it has any, and of the other runs of its upload.
        small: What `small_runs` counts for a small run; none for any other. Ignored where a person has accepted them for the run.

    Returns:
        The result; the run's own refusals take precedence.
    """
    found = _of_upload(run_id, counts, now=now)
    if not small or found.level == "pause":
        return found
    own = next((run_counts for run_counts in counts if run_counts.run_id == run_id), None)
    if own is not None and own.small_runs_accepted:
        return found
    return worst((found, small_runs(own, small)))


def is_small(planned_count: int) -> bool:
    """Whether a run has too few debits to decide anything by itself."""
    return planned_count < REFUSALS.counted_min


def small_runs(own: RunCounts | None, before: Sequence[RunCounts]) -> Look:
    """
    Look at the refusals of the small runs of an account.

    Args:
        own: Of the run that is judged; `None` where it has no answers, or where the next run is meant.
        before: Of the runs of the account that were ordered before it and first answered within `COUNTED_FOR`; by their first answer, the newest first.

    Returns:
        The result, over the newest runs that together have the answers that decide.
    """
    counted, bad = (0, 0) if own is None else own.since_release
    runs = list[int]()
    for other in before:
        if counted >= SMALL_RUNS.counted_min:
            break
        answered, refused = other.since_release
        if 0 < answered < REFUSALS.counted_min:
            counted, bad = counted + answered, bad + refused
            runs.append(other.run_id)
    found = look(SMALL_RUNS, counted=counted, bad=bad)
    if not found.text or not runs:
        return found
    named = ", ".join(map(str, runs[:_NAMED_MAX]))
    more = f" and {len(runs) - _NAMED_MAX} more" if len(runs) > _NAMED_MAX else ""
    text = f"{found.text.removesuffix('.')}: run{'s' if len(runs) > 1 else ''} {named}{more}."
    return msgspec.structs.replace(found, text=text)


# How many of them the text names; a person finds the others in the list of runs.
_NAMED_MAX: Final = 10


def _of_upload(run_id: int, counts: Sequence[RunCounts], *, now: datetime) -> Look:
    own = next((run_counts.since_release for run_counts in counts if run_counts.run_id == run_id), (0, 0))
    others = [
        run_counts for run_counts in counts if run_counts.run_id != run_id and _counts(run_counts, now=now)
    ]
    found = look(REFUSALS, counted=own[0], bad=own[1])
    if not others or found.level == "pause":
        return found
    counted = own[0] + sum(other.since_release[0] for other in others)
    bad = own[1] + sum(other.since_release[1] for other in others)
    joint = look(REFUSALS, counted=counted, bad=bad)
    if not joint.text:
        return found
    runs = ", ".join(str(other.run_id) for other in others)
    among = f", those of run{'s' if len(others) > 1 else ''} {runs} of the same upload among them."
    return worst((found, msgspec.structs.replace(joint, text=joint.text.removesuffix(".") + among)))


def _counts(other: RunCounts, *, now: datetime) -> bool:
    """Whether another run of the upload was refused recently; a run without refusals must not hide one with many."""
    answered, refused = other.since_release
    lately = other.refused_at is not None and now - other.refused_at < COUNTED_FOR
    return lately and refused > 0 and refused >= REFUSALS.warn_share * answered


class Counts(msgspec.Struct, frozen=True):
    """
    The counts of the gauges that are not checked at each claim; pairs of counted and bad.

    Attributes:
        canaries: Of its canaries that were answered, those declined or in error.
        of_upload: Of the upload's debits that were collected, those charged back.
        of_account: The same of the account, over `ACCOUNT_DAYS`.
    """

    canaries: tuple[int, int]
    of_upload: tuple[int, int]
    of_account: tuple[int, int]


def looks(counts: Counts, *, released_share: float = 0.0) -> tuple[Look, ...]:
    """
    Evaluate the gauges of a run other than its refusals.

    Args:
        counts: What they count.
        released_share: The share a person has seen and released.

    Returns:
        One result for each gauge.
    """
    gauges = (
        (CANARIES, counts.canaries),
        (RETURNS, counts.of_upload),
        (RETURNS, counts.of_account),
    )
    return tuple(
        look(gauge, counted=counted, bad=bad, released_share=released_share)
        for gauge, (counted, bad) in gauges
    )


def worst(several: tuple[Look, ...]) -> Look:
    """
    The most severe of several results.

    Args:
        several: One or more looks.

    Returns:
        The first of the highest level.
    """
    order: dict[Level, int] = {"go": 0, "warn": 1, "pause": 2}
    return max(several, key=lambda item: order[item.level])
