"""
The brake: when too much comes back, warn, and then stop sending until a person looked.

A run over a wrong list, or without mandates, shows itself in two ways: at once, in debits that the gateway refuses; and
some days later, in debits that come back. Both are shares, and both are looked at the same way: few debits say
nothing; from one share on a person is warned; from a higher one on the run is paused.

| gauge | counted | bad | warn | pause |
|---|---|---|---|---|
| refusals | debits that were answered | declined or in error | 20 % | 50 % |
| canaries | the first share of a run, answered | declined or in error | 20 % | 50 % |
| returns | debits that were collected | charged back and not won back | 15 % | 30 % |

Returns are looked at for the upload and for the whole account, since schemes and acquirers count by account. A return for
a reason of the acquirer's own (XT33, XT73) is left out of both counts.

A person who resumes a paused run has seen its share (`released_share`). The brake then acts again when the share has
grown by `STEP` beyond that, and not at once for the same debits.

>>> look(REFUSALS, counted=200, bad=110)
Look(level='pause', share=0.55, text='110 of 200 debits that were answered were declined or in error (55.0 %).')
>>> look(RETURNS, counted=10, bad=9).level     # too few to say anything
'go'
>>> look(REFUSALS, counted=200, bad=110, released_share=0.55).level
'warn'
>>> look(RETURNS, counted=5, bad=6)
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: bad: is a part of what is counted
"""

from typing import Final, Literal

import msgspec

from tether_core.errors import InvalidRequest

__all__ = [
    "ACCOUNT_DAYS",
    "CANARIES",
    "LEFT_OUT",
    "REFUSALS",
    "RETURNS",
    "STEP",
    "Counts",
    "Gauge",
    "Level",
    "Look",
    "look",
    "looks",
    "worst",
]

Level = Literal["go", "warn", "pause"]

# Reasons of the acquirer's own: they say nothing about debtors or lists.
LEFT_OUT: Final = frozenset({"XT33", "XT73"})
# Returns of an account are counted over so many days: most come within five banking days, nearly all within 8 weeks.
ACCOUNT_DAYS: Final = 60
# So much more must come back before a released brake acts again.
STEP: Final = 0.05


class Gauge(msgspec.Struct, frozen=True):
    """
    What a brake looks at, and when it acts.

    Attributes:
        counted: What is counted, in words.
        bad: What of it is bad, in words.
        counted_min: Fewer say nothing.
        warn_share: From this share on a person is warned.
        pause_share: From this share on nothing more is sent.
    """

    counted: str
    bad: str
    counted_min: int
    warn_share: float
    pause_share: float


# Refused at once: twenty answers come within a second, so a wrong list stops before it has done much.
REFUSALS: Final = Gauge("debits that were answered", "declined or in error", 20, 0.20, 0.50)
# The canaries are sent to be looked at, so even a few of them speak.
CANARIES: Final = msgspec.structs.replace(REFUSALS, counted="canaries that were answered", counted_min=1)
# Come back later: 30 % was the old system's alarm; a scheme looks at a creditor long before.
RETURNS: Final = Gauge("debits that were collected", "charged back", 20, 0.15, 0.30)


class Look(msgspec.Struct, frozen=True):
    """
    What a gauge shows.

    Attributes:
        level: "go", "warn" or "pause".
        share: The bad share, 0.0 where nothing is counted.
        text: The facts, as a sentence; "" where they say nothing.
    """

    level: Level
    share: float
    text: str


def look(gauge: Gauge, *, counted: int, bad: int, released_share: float = 0.0) -> Look:
    """
    Look at a gauge.

    Args:
        gauge: Which.
        counted: How many debits are counted.
        bad: How many of them are bad.
        released_share: The share a person has seen and released; 0.0 where nobody had to.

    Returns:
        What it shows.

    Raises:
        InvalidRequest: when more are bad than counted.
    """
    if not 0 <= bad <= counted:
        raise InvalidRequest("is a part of what is counted", field="bad")
    share = bad / counted if counted else 0.0
    if counted < gauge.counted_min or share < gauge.warn_share:
        return Look("go", share, "")
    text = f"{bad} of {counted} {gauge.counted} were {gauge.bad} ({share * 100:.1f} %)."
    released = released_share > 0 and share < released_share + STEP
    return Look("pause" if share >= gauge.pause_share and not released else "warn", share, text)


class Counts(msgspec.Struct, frozen=True):
    """
    What all gauges of a run count; pairs of counted and bad.

    Attributes:
        refused: Of its debits that were answered, those declined or in error.
        canaries: The same of its canaries.
        of_upload: Of the upload's debits that were collected, those charged back.
        of_account: The same of the account, over `ACCOUNT_DAYS`.
    """

    refused: tuple[int, int]
    canaries: tuple[int, int]
    of_upload: tuple[int, int]
    of_account: tuple[int, int]


def looks(counts: Counts, *, released_share: float = 0.0) -> tuple[Look, ...]:
    """
    Look at all gauges of a run.

    Args:
        counts: What they count.
        released_share: The share a person has seen and released.

    Returns:
        One look a gauge.
    """
    gauges = (
        (REFUSALS, counts.refused),
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
    The gauge that asks for most.

    Args:
        several: One or more looks.

    Returns:
        The first of the highest level.
    """
    order: dict[Level, int] = {"go": 0, "warn": 1, "pause": 2}
    return max(several, key=lambda one: order[one.level])
