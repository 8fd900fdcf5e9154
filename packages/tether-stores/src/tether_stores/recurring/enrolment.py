"""Enrol debtors in a collection plan: judge each, and add mandates and schedules, inside the transaction of the caller."""

from collections.abc import Sequence
from datetime import date, datetime

import msgspec
from tether_core import iban
from tether_core.errors import InvalidRequest
from tether_core.events import Event, MandateStatusChanged, ScheduleStatusChanged
from tether_core.recurring import enrolment, schedule
from tether_core.recurring.enrolment import EnrolmentFacts
from tether_core.recurring.mandate import key_of

from tether_stores import events
from tether_stores.postgres import Connection
from tether_stores.recurring import mandates, schedules
from tether_stores.recurring.collection_plans import CollectionPlan
from tether_stores.recurring.mandates import ActiveMandate, NewMandate
from tether_stores.recurring.schedules import Applicant, NewSchedule

__all__ = ["Enrolled", "enrol", "judged"]


class Enrolled(msgspec.Struct, frozen=True):
    """
    What became of one debtor.

    Attributes:
        debtor_id: The debtor.
        amount_minor: What is collected each time, whole minor units.
        verdict: "enrolled", or why not.
        text: The facts behind it.
        schedule_id: The schedule; `None` where there is none, and in a dry run.
    """

    debtor_id: int
    amount_minor: int
    verdict: str
    text: str
    schedule_id: int | None = None


async def judged(
    conn: Connection, applicants: Sequence[Applicant], plan: CollectionPlan, *, signed_on: date | None
) -> list[tuple[Applicant, Enrolled, str]]:
    """
    Judge debtors.

    Args:
        applicants: The debtors.
        plan: The collection plan.
        signed_on: When the debtors signed whose rows do not say it.

    Returns:
        Each with the verdict, and with what its mandate is compared by; "" where that cannot be read.
    """
    keys = {applicant.id: _key(applicant) for applicant in applicants}
    known = await mandates.active_by_key(conn, {key for key in keys.values() if key}, account=plan.account)
    ended = await mandates.ended_of(conn, {applicant.iban_fingerprint for applicant in applicants})
    seen = dict[str, bytes]()
    result = []
    for applicant in applicants:
        key = keys[applicant.id]
        amount_minor = plan.options.amount_minor or applicant.amount_minor
        verdict = enrolment.judge(
            EnrolmentFacts(
                verdict=applicant.verdict,
                currency=applicant.currency,
                amount_minor=amount_minor,
                has_schedule=applicant.has_schedule,
                reference=applicant.mandate_id,
                signed_on=applicant.mandate_signed_on,
                is_of_other_account=_is_of_other_account(applicant, known.get(key), seen.get(key)),
                is_one_off=(mandate := known.get(key)) is not None and mandate.kind == "one_off",
                ended=ended.get((applicant.iban_fingerprint, key)),
            ),
            options=plan.options,
            signed_on=signed_on,
        )
        if verdict.code == "enrolled":
            seen.setdefault(key, applicant.iban_fingerprint)
        result.append((applicant, Enrolled(applicant.id, amount_minor, verdict.code, verdict.text), key))
    return result


async def enrol(
    conn: Connection,
    applicants: Sequence[Applicant],
    plan: CollectionPlan,
    *,
    first_due_on: date,
    last_due_on: date | None,
    signed_on: date | None,
    created_by: str,
    now: datetime,
) -> list[Enrolled]:
    """
    Give debtors a schedule, and a mandate where they have none.

    Args:
        conn: A transaction that holds the plan in share mode.
        applicants: The debtors.
        plan: The collection plan, active.
        first_due_on: The first due date.
        last_due_on: No due date after this; `None` for no end.
        signed_on: When the debtors signed whose rows do not say it.
        created_by: The name of the caller.

    Returns:
        What became of each.
    """
    decided = await judged(conn, applicants, plan, signed_on=signed_on)
    accepted = [
        (applicant, result, key) for applicant, result, key in decided if result.verdict == "enrolled"
    ]
    known = await mandates.active_by_key(conn, {key for _, _, key in accepted}, account=plan.account)
    new = dict[str, NewMandate]()
    for applicant, _, key in accepted:
        if key not in known:
            signed = applicant.mandate_signed_on or signed_on
            assert signed is not None
            reference = enrolment.reference_of(applicant.id, applicant.mandate_id)
            new.setdefault(key, NewMandate(applicant.id, reference, iban.mask(applicant.iban), signed))
    added = await mandates.add(conn, list(new.values()), account=plan.account, created_by=created_by, now=now)
    # Another order may have added some meanwhile.
    known = await mandates.active_by_key(conn, {key for _, _, key in accepted}, account=plan.account)
    on = schedule.make_on(first_due_on, 0, last_on=last_due_on, options=plan.options)
    assert on is not None
    made = await schedules.add(
        conn,
        [
            NewSchedule(applicant.id, known[key].id, result.amount_minor)
            for applicant, result, key in accepted
            if known[key].iban_fingerprint == applicant.iban_fingerprint
        ],
        plan_id=plan.id,
        first_due_on=first_due_on,
        last_due_on=last_due_on,
        make_on=on,
        created_by=created_by,
        now=now,
    )
    facts: list[Event] = [
        MandateStatusChanged(mandate_id, debtor_id, "", "active") for debtor_id, mandate_id in added.items()
    ]
    facts += [
        ScheduleStatusChanged(schedule_id, debtor_id, "", "active", "")
        for debtor_id, schedule_id in made.items()
    ]
    await events.append(conn, [(None, fact) for fact in facts], now=now)
    return [
        result
        if result.verdict != "enrolled"
        else msgspec.structs.replace(result, schedule_id=made[result.debtor_id])
        if result.debtor_id in made
        else msgspec.structs.replace(
            result, verdict="has_schedule", text="Another order has given the debtor a schedule meanwhile."
        )
        for _, result, _ in decided
    ]


def _key(applicant: Applicant) -> str:
    try:
        return key_of(enrolment.reference_of(applicant.id, applicant.mandate_id))
    except InvalidRequest:
        return ""


def _is_of_other_account(applicant: Applicant, known: ActiveMandate | None, seen: bytes | None) -> bool:
    """Whether a mandate is for another account: by its row, or by an earlier debtor of the same order."""
    if known is not None:
        return known.iban_fingerprint != applicant.iban_fingerprint
    return seen is not None and seen != applicant.iban_fingerprint
