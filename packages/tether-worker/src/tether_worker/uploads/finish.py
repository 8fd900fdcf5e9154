"""
Finish an upload once all its rows are screened: repeats by a blank value, mandates of several accounts, questions to a person.

```text
last chunk ─► rows of accounts with several ─► repeats.repeats ─► excluded, or asked about
         └──► rows asked about, counted ─► answered, or remembered for the layout? ─► taken, or excluded ─► completed
                                       └─► open ─► needs_answer, until a person has decided
```

A row without a reference can only be judged once all rows of its account are known: it repeats another one, in any order. Each step is a
transaction that names the lease; a worker that dies in between leaves whole steps, and the next worker does the rest.
"""

from collections import Counter
from datetime import datetime
from typing import Final

import msgspec
from tether_core.payments.repeats import repeats
from tether_core.screening import questions
from tether_core.screening.questions import Answered, RepeatGroup
from tether_core.screening.verdicts import QUESTIONS, Facts, ScreeningPolicy, Subject, Verdict, reasons
from tether_core.spreadsheet import FileDecision, Plan
from tether_core.target_calendar import bank_day
from tether_core.uploads.upload import step
from tether_stores.debtors import verdicts
from tether_stores.debtors.verdicts import SharedAccountRow
from tether_stores.postgres import Connection, Pool, connection, transaction
from tether_stores.uploads import layout_answers, uploads
from tether_stores.uploads.turns import DueUpload

from tether_worker import mandate_conflicts
from tether_worker.jobs.leases import LeaseLost

__all__ = ["resolve"]

# Rows whose verdict changes in one statement.
_BATCH: Final = 10_000


async def resolve(
    pool: Pool, due: DueUpload, *, plan: Plan, lease: str, policy: ScreeningPolicy, now: datetime
) -> bool:
    """
    Finish an upload whose rows are all screened.

    Args:
        due: The upload.
        plan: How it was read.
        lease: Of this worker.
        policy: How strictly its rows were screened.

    Returns:
        Whether it is finished; otherwise it waits for a person.

    Raises:
        LeaseLost: when another worker has it.
    """
    if due.screened_at is None:
        async with transaction(pool) as conn:
            several = await _several(conn, due, lease=lease, policy=policy, now=now)
            shared = await mandate_conflicts.warn(conn, due, plan=plan, lease=lease, now=now)
        found = tuple(decision for decision in (several, shared) if decision is not None)
        plan = msgspec.structs.replace(plan, decisions=(*plan.decisions, *found))
    async with connection(pool) as conn:
        kept = await layout_answers.remembered(conn, layout=questions.layout_key(plan))
        rules = [rule for some in QUESTIONS.values() for rule in some]
        groups = await verdicts.question_groups(conn, due.id, rules=rules, dry_run=due.dry_run)
    answers = dict(due.screening_answers)
    for remembered in kept:
        some = questions.of_subject(groups, remembered.subject)
        if (
            some
            and remembered.subject not in answers
            and questions.holds(remembered, some, today=bank_day(now))
        ):
            answers[remembered.subject] = Answered(
                remembered.answer, remembered.answered_by, remembered.answered_at, remembered=True
            )
    asked = questions.questions(groups)
    still_open = tuple([question for question in asked if question.code not in answers])
    if due.dry_run:
        notes = [*due.notes, *(f"A person would be asked: {question.ask}" for question in still_open)]
        await _write(pool, due, plan=plan, groups=groups, answers=answers, notes=notes, lease=lease, now=now)
        return True
    decided = () if still_open else tuple(_decisions(groups, answers))
    plan = msgspec.structs.replace(plan, questions=still_open, decisions=(*plan.decisions, *decided))
    await _write(pool, due, plan=plan, groups=groups, answers=answers, notes=due.notes, lease=lease, now=now)
    if still_open:
        return False
    await _take(pool, due, answers=answers, lease=lease, screened_at=due.screened_at or now, now=now)
    return True


def _decisions(groups: list[RepeatGroup], answers: dict[Subject, Answered]) -> list[FileDecision]:
    found = []
    for subject, answered in answers.items():
        if some := questions.of_subject(groups, subject):
            found.append(questions.decision(subject, answered, some))
    return found


async def _several(
    conn: Connection, due: DueUpload, *, lease: str, policy: ScreeningPolicy, now: datetime
) -> FileDecision | None:
    """Exclude repeats among the rows of one account; returns how many rows are debits of their own."""
    moved: Counter[str] = Counter()
    excluded: list[int] = []
    accounts: list[int] = []
    debits: list[int] = []
    pending: list[tuple[SharedAccountRow, Verdict]] = []
    async for some in verdicts.shared_accounts(conn, due.id, dry_run=due.dry_run):
        kept, found = _of_account(some, policy=policy)
        for item, verdict in found:
            if item.verdict == "clear":
                excluded.append(item.amount_minor)
            if item.verdict == "clear" or verdict.rule == "duplicate_in_file":
                moved.update({item.verdict: -1, verdict.rule: 1})
        pending += found
        if len(kept) > 1:
            accounts.append(len(kept))
            debits += kept
        if len(pending) >= _BATCH:
            await _exclude(conn, due, pending)
            pending = []
    await _exclude(conn, due, pending)
    del moved["clear"]
    if moved and not await uploads.recount(
        conn,
        due.id,
        stored=-len(excluded),
        amount_minor=-sum(excluded),
        verdicts=moved,
        lease=lease,
        now=now,
    ):
        raise LeaseLost
    if not accounts:
        return None
    count = len(accounts)
    return FileDecision(
        "several_debits",
        f"{len(debits):,} debits from {count:,} {'account' if count == 1 else 'accounts'}",
        f"{count:,} {'account has' if count == 1 else 'accounts have'} several debits in this file, {len(debits):,} over "
        f"{sum(debits) // 100:,}.{sum(debits) % 100:02d} EUR: their references, mandates or customer numbers differ.",
    )


def _of_account(
    some: list[SharedAccountRow], *, policy: ScreeningPolicy
) -> tuple[list[int], list[tuple[SharedAccountRow, Verdict]]]:
    """The amounts of an account's distinct debits, and the verdict against each other row."""
    result = repeats([(several.row, several.key) for several in some], one_per_account=policy.same == "iban")
    found = list[tuple[SharedAccountRow, Verdict]]()
    for several in some:
        facts = Facts(
            duplicate_of=result.same_as.get(several.row), unclear_with=result.unclear.get(several.row)
        )
        found += [(several, verdict) for verdict in reasons(facts, policy=policy)]
    return [several.amount_minor for several in some if several.row in result.kept], found


async def _exclude(conn: Connection, due: DueUpload, found: list[tuple[SharedAccountRow, Verdict]]) -> None:
    for first in (True, False):
        some = [(item, verdict) for item, verdict in found if (verdict.rule == "duplicate_in_file") == first]
        if due.dry_run:
            by_row = {item.row: verdict for item, verdict in some}
            await verdicts.exclude_dry_run_rows(conn, due.id, by_row, first=first)
        else:
            await verdicts.exclude(conn, {item.id: verdict for item, verdict in some}, first=first)


async def _write(
    pool: Pool,
    due: DueUpload,
    *,
    plan: Plan,
    groups: list[RepeatGroup],
    answers: dict[Subject, Answered],
    notes: list[str],
    lease: str,
    now: datetime,
) -> None:
    state = step(due.state, "continued" if plan.ready else "asked")
    async with connection(pool) as conn:
        if not await uploads.screened(
            conn,
            due.id,
            state=state,
            plan=plan,
            repeats=groups,
            answers=answers,
            notes=notes,
            lease=lease,
            now=now,
        ):
            raise LeaseLost


async def _take(
    pool: Pool,
    due: DueUpload,
    *,
    answers: dict[Subject, Answered],
    lease: str,
    screened_at: datetime,
    now: datetime,
) -> None:
    """Include the rows that a person, or an answer kept for the layout, has chosen to collect."""
    taken = [
        rule for subject, item in answers.items() if item.answer == "take" for rule in QUESTIONS[subject]
    ]
    excluded = [
        rule for subject, item in answers.items() if item.answer == "exclude" for rule in QUESTIONS[subject]
    ]
    while taken:
        async with transaction(pool) as conn:
            rows = await verdicts.take(
                conn, due.id, taken=taken, excluded=excluded, screened_at=screened_at, limit=_BATCH
            )
            if not rows:
                return
            fresh = [(amount_minor, verdict) for _, amount_minor, verdict in rows if verdict in taken]
            kinds = Counter(verdict for _, verdict in fresh)
            if not await uploads.recount(
                conn,
                due.id,
                stored=len(fresh),
                amount_minor=sum(amount_minor for amount_minor, _ in fresh),
                verdicts={rule: -count for rule, count in kinds.items()},
                lease=lease,
                now=now,
            ):
                raise LeaseLost
