"""
`POST /api/uploads/{id}/pre-notifications`: tell the debtors of an upload that a debit comes, before a run that requires it.

It makes a pre-notification for each debtor whom a run would bill. They are listed at `/api/pre-notifications?upload={id}`, given by the adapter or by whom states it,
and a run with `notice_days` debits nobody else.
"""

from collections import Counter
from datetime import date
from typing import Annotated, Final

import msgspec
from litestar import Router, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import JSONBody
from tether_core import iban
from tether_core.audit import facts
from tether_core.billing.eligibility import judge
from tether_core.billing.run_options import RunOptions
from tether_core.errors import IllegalStep, InvalidRequest
from tether_core.recurring import pre_notification
from tether_core.recurring.pre_notification import NOTICE_DAYS, Language, Notice
from tether_core.target_calendar import bank_day
from tether_stores import audit
from tether_stores.accounts import gateway_accounts
from tether_stores.billing import billing_runs
from tether_stores.billing.candidates import Owing, load_owing
from tether_stores.postgres import Connection, transaction
from tether_stores.recurring import changes
from tether_stores.recurring.pre_notifications import NewNotice
from tether_stores.telemetry import logger

from tether_web.http.auth import ApiRequest
from tether_web.http.parameters import Id, printable

__all__ = ["ROUTER", "AnnouncementOrder", "AnnouncementResponse"]

_CHUNK: Final = 1_000
_EXAMPLE: Final = ("Ada Example", "DE89370400440532013000")
_log = logger("recurring")


class AnnouncementOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    An order to announce a debit to the debtors of an upload.

    Attributes:
        due_item: What is owed, as the run will say it.
        due_on: The day of the debit; null for the first bank day that leaves the days.
        notice_days: How many calendar days the debtors have, 1 to 60; the run states the same.
        account: The gateway account of the run.
        language: Of the built-in text.
        text: Your own text in place of it, with {amount} and {due_on}; further fields are {name}, {iban}, {mandate}, {reference}, {creditor} and {creditor_id}.
        creditor_name: In the text.
        creditor_id: The creditor identifier, in the text.
        dry_run: Only count the debtors, and show the text for an invented one.
    """

    due_item: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = "once"
    due_on: date | None = None
    notice_days: Annotated[int, msgspec.Meta(ge=1, le=60)] = NOTICE_DAYS
    account: Annotated[str, msgspec.Meta(max_length=32)] = gateway_accounts.DEFAULT
    language: Language = "en"
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)] | None = None
    creditor_name: Annotated[str, msgspec.Meta(max_length=140)] = ""
    creditor_id: Annotated[str, msgspec.Meta(max_length=35)] = ""
    dry_run: bool = False


class AnnouncementResponse(msgspec.Struct, frozen=True):
    """
    What was announced.

    Attributes:
        due_item: What is owed.
        due_on: The day of the debit, as the debtors read it.
        give_on: The last day on which it may be given without moving the debit.
        debtors: Debtors whom a run would bill, so who are announced to.
        made: New pre-notifications; in a dry run how many there would be at most.
        existing: Debtors who have one of this due item and day already, given or not.
        withdrawn: Pre-notifications not given yet that stated another day or amount.
        skipped: Debtors whom no run would bill, by verdict.
        example: The text, as an invented debtor would read it.
    """

    due_item: str
    due_on: date
    give_on: date
    debtors: int
    made: int
    existing: int
    withdrawn: int
    skipped: dict[str, int]
    example: str


@post("/", status_code=200, summary="Announce a debit to the debtors of an upload")
async def announce(
    request: ApiRequest, state: State, upload_id: Id, data: JSONBody[AnnouncementOrder]
) -> AnnouncementResponse:
    """
    Make a pre-notification for each debtor whom a run of this due item would bill.

    Repeat it to announce to debtors who became billable since: nobody gets a second one of the same day.
    """
    own = request.auth.accounts
    if own is not None and data.account not in own:
        raise InvalidRequest("no gateway account has this name", field="account")
    now = state.clock()
    today = bank_day(now)
    printable(data.creditor_name, field="creditor_name")
    printable(data.creditor_id, field="creditor_id")
    if data.text is not None:
        pre_notification.require_known(data.text)
    # Of a debit for another upload some days ago nothing is left to wait for when the days have passed.
    options = RunOptions(due_item=data.due_item, recent_days=0)
    due_on = pre_notification.announced_on(data.due_on, today=today, days=data.notice_days)
    async with transaction(state.pool) as conn:
        await _require(conn, state, upload_id, account=data.account)
        if not data.dry_run:
            await audit.record(
                conn,
                request.auth.actor,
                "pre_notifications.ordered",
                subject="upload",
                subject_id=upload_id,
                after=facts(due_item=data.due_item, due_on=due_on.isoformat(), notice_days=data.notice_days),
                now=now,
            )
    skipped = Counter[str]()
    debtors = made = withdrawn = last = 0
    while True:
        # A transaction for each thousand, so that no other order waits for all of them. What is repeated changes nothing.
        async with transaction(state.pool) as conn:
            if not data.dry_run:
                await _require(conn, state, upload_id, account=data.account)
            owing = await load_owing(
                conn, due_item=data.due_item, now=now, limit=_CHUNK, upload_id=upload_id, after=last
            )
            if not owing:
                break
            last = owing[-1].candidate.debtor_id
            billed = list[Owing]()
            for debtor in owing:
                verdict = judge(debtor.candidate, options=options)
                if verdict.billable:
                    billed.append(debtor)
                else:
                    skipped[verdict.code] += 1
            debtors += len(billed)
            if not data.dry_run:
                new = [_notice(debtor, data, upload_id=upload_id, due_on=due_on) for debtor in billed]
                added, superseded = await changes.announce(conn, new, now=now)
                made, withdrawn = made + added, withdrawn + superseded
    _log.info("debits announced", upload_id=upload_id, made=made, dry_run=data.dry_run)
    name, account = _EXAMPLE
    return AnnouncementResponse(
        data.due_item,
        due_on,
        _give_on(due_on, data),
        debtors,
        debtors if data.dry_run else made,
        0 if data.dry_run else debtors - made,
        withdrawn,
        dict(skipped),
        _text(
            Notice(
                name=name,
                amount_minor=1_999,
                currency="EUR",
                due_on=due_on,
                iban_masked=iban.mask(account),
                mandate="M-1",
                creditor=data.creditor_name,
                creditor_id=data.creditor_id,
                reference="R-1",
            ),
            data,
        ),
    )


def _notice(debtor: Owing, data: AnnouncementOrder, *, upload_id: int, due_on: date) -> NewNotice:
    candidate, payer = debtor.candidate, debtor.payer
    notice = Notice(
        name=payer.name or "",
        amount_minor=candidate.amount_minor,
        currency=candidate.currency,
        due_on=due_on,
        iban_masked=iban.mask(candidate.iban),
        mandate=payer.mandate_id or "",
        creditor=data.creditor_name,
        creditor_id=data.creditor_id,
        reference=payer.reference or "",
    )
    return NewNotice(
        account=data.account,
        upload_id=upload_id,
        debtor_id=candidate.debtor_id,
        due_item=data.due_item,
        due_item_id=None,
        due_on=due_on,
        give_on=_give_on(due_on, data),
        notice_days=data.notice_days,
        amount_minor=candidate.amount_minor,
        currency=candidate.currency,
        text=_text(notice, data),
    )


def _give_on(due_on: date, data: AnnouncementOrder) -> date:
    return date.fromordinal(due_on.toordinal() - data.notice_days)


def _text(notice: Notice, data: AnnouncementOrder) -> str:
    return pre_notification.text(notice, language=data.language, template=data.text)


async def _require(conn: Connection, state: State, upload_id: int, *, account: str) -> None:
    found = await billing_runs.hold_upload(conn, upload_id)
    if found is None:
        raise NotFoundException("There is no such upload")
    upload_state, is_dry_run = found
    if is_dry_run or upload_state != "completed":
        raise IllegalStep("upload", state="dry_run" if is_dry_run else upload_state, step="announced")
    names = await gateway_accounts.all_accounts(conn, settings=state.settings)
    if account not in {gateway_accounts.DEFAULT, *names}:
        raise InvalidRequest("no gateway account has this name", field="account")


ROUTER: Final = Router(
    "/api/uploads/{upload_id:int}/pre-notifications",
    route_handlers=[announce],
    tags=["recurring collection"],
)
