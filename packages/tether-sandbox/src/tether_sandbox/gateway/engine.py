"""
The engine of the simulator: processes requests, records them in the ledger, and carries out their transitions over time.

A debit gets its outcome when it is taken (`process.outcome`). Its transitions then happen one after another; each is recorded in
the ledger and notified to the merchant. Inquiries are answered from the ledger alone, so lists, single responses and
notifications agree.
"""

import asyncio
import hashlib
import heapq
import itertools
import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import msgspec
from tether_core import iban as iban_of

from tether_sandbox.gateway import responses
from tether_sandbox.gateway.ledger import SALES, Debit, Ledger, ReceivedOrder
from tether_sandbox.gateway.notifier import Notifier
from tether_sandbox.gateway.payment_history import Transition
from tether_sandbox.gateway.process import LOST_RESPONSES, Fields, Refused, checked, outcome
from tether_sandbox.gateway.scenario import FailureMode, Script
from tether_sandbox.gateway.setup import Setup

__all__ = ["Answer", "Engine"]

_PER_PAGE: Final = 100
_WINDOW_MAX: Final = timedelta(days=7)
_REFUNDABLE: Final = frozenset({"approved", "chargeback_reversed", "represented"})


class Answer(msgspec.Struct, frozen=True):
    """
    A response, and how it fails.

    Attributes:
        failure_mode: "plain", or how the response fails.
    """

    body: bytes
    status: int = 200
    content_type: str = "text/xml; charset=utf-8"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    failure_mode: FailureMode = "plain"


class Engine:
    """
    Processes the requests of one account.

    Attributes:
        setup: The configuration.
        ledger: The debits.
        notifier: Sends the notifications.
        faults: The current random faults.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.ledger = Ledger()
        self.notifier = Notifier(setup)
        self.faults = setup.faults
        self._rng = random.Random(setup.seed)
        self._sent_times = dict[str, int]()
        self._numbers = itertools.count()
        self._ahead = list[tuple[float, int, Debit]]()
        self._woken = asyncio.Event()
        self._set_at: datetime | None = None

    # --- time ---

    @property
    def now(self) -> datetime:
        """The time of records: this machine's, or the time it was set to, which stands still."""
        return self._set_at or datetime.now(UTC)

    def set_clock(self, at: datetime) -> None:
        """Set the time of records; pending transitions still come by this machine's clock."""
        self._set_at = at

    @property
    def ahead(self) -> int:
        """Number of debits with pending transitions."""
        return len(self._ahead)

    async def run_clock(self) -> None:
        """Carry out transitions when they are due, until cancelled."""
        while True:
            now_s = asyncio.get_running_loop().time()
            while self._ahead and self._ahead[0][0] <= now_s:
                self._next_transition(heapq.heappop(self._ahead)[2])
            wait_s = self._ahead[0][0] - now_s if self._ahead else None
            self._woken.clear()
            try:
                await asyncio.wait_for(self._woken.wait(), wait_s)
            except TimeoutError:
                continue

    async def resolve(self) -> int:
        """
        Carry out all pending transitions now, and wait until their notifications are delivered.

        Returns:
            The number of transitions.
        """
        transitions = 0
        while self._ahead:
            transitions += 1
            self._next_transition(heapq.heappop(self._ahead)[2])
        await self.notifier.idle()
        return transitions

    def transition(self, debit: Debit, transition: Transition) -> None:
        """Carry out a transition now: record it and notify the merchant."""
        dispute_id = self.record_transition(debit, transition)
        if debit.is_notified:
            self.notifier.notify(_notification(debit, transition, dispute_id=dispute_id))
        order = debit.order
        if order.type == "sdd_refund" and transition.status == "approved":
            original = self.ledger.found(unique_id=order.reference_id)
            # If it was charged back before, the debit stays charged back: the debtor got the amount twice.
            if (
                original is not None
                and order.amount_minor == original.order.amount_minor
                and original.status in _REFUNDABLE
            ):
                self.transition(original, Transition("refunded"))

    def record_transition(self, debit: Debit, transition: Transition) -> str:
        """
        Record a transition without a notification.

        Returns:
            The id of the dispute, if it is one.
        """
        dispute_id = hashlib.blake2b(
            f"{debit.unique_id}{transition.event}{transition.dispute}".encode(), digest_size=16
        ).hexdigest()
        self.ledger.transition(debit, transition, now=self.now, dispute_id=dispute_id)
        return dispute_id

    def _schedule(self, debit: Debit) -> None:
        if not debit.ahead:
            return
        at_s = asyncio.get_running_loop().time() + self.setup.result_after_s
        every_s = self.setup.results_every_s
        if every_s > 0:
            at_s = -(-at_s // every_s) * every_s
        heapq.heappush(self._ahead, (at_s, next(self._numbers), debit))
        self._woken.set()

    def _next_transition(self, debit: Debit) -> None:
        if debit.ahead:
            self.transition(debit, debit.ahead.pop(0))
            self._schedule(debit)

    # --- transactions ---

    def process(self, token: str, fields: Fields) -> Answer:
        """
        Process a transaction request.

        Args:
            token: The terminal's.
            fields: Texts by path.

        Raises:
            Refused: when it is not taken.
        """
        checked(fields)
        known = self.ledger.found(transaction_id=fields["transaction_id"])
        if self.setup.repeats == "refuse" and known is not None:
            raise Refused("450", "Transaction already exists!")
        match fields["transaction_type"]:
            case "sdd_refund":
                return self._refund(token, fields)
            case "void":
                return self._void(token, fields)
            case _:
                return self._sale(token, fields)

    def _sale(self, token: str, fields: Fields) -> Answer:
        fingerprint = iban_of.fingerprint(fields["iban"]).hex() if "iban" in fields else ""
        if fields["transaction_type"] == "sdd_recurring_sale":
            first = self._original(fields, types=frozenset({"sdd_init_recurring_sale"}))
            if first.status == "refunded":
                raise Refused("430", "the series was stopped")
            fingerprint = first.order.fingerprint
        return self._take(token, fields, fingerprint=fingerprint)

    def _refund(self, token: str, fields: Fields) -> Answer:
        original = self._original(fields, types=SALES)
        if original.status not in _REFUNDABLE:
            raise Refused("420", "reference transaction cannot be refunded in its state")
        paid_back = sum(
            other.order.amount_minor
            for other in self.ledger.referring(original.unique_id)
            if other.order.type == "sdd_refund" and other.status in {"pending_async", "approved"}
        )
        if paid_back + int(fields["amount"]) > original.order.amount_minor:
            raise Refused("440", "amount exceeds amount of reference transaction")
        return self._take(token, fields, fingerprint="")

    def refund_in_back_office(
        self, original: Debit, *, amount_minor: int | None, status: str, is_notified: bool
    ) -> Debit:
        """
        Refund a debit as a person in the back office does, without a request of the merchant.

        Args:
            amount_minor: The refunded amount; `None` for the whole.
            status: The final status of the refund.
            is_notified: Whether a notification is sent.
        """
        number = len(self.ledger.referring(original.unique_id)) + 1
        order = ReceivedOrder(
            transaction_id=f"back-office-{original.unique_id}-{number}",
            type="sdd_refund",
            terminal=original.order.terminal,
            amount_minor=original.order.amount_minor if amount_minor is None else amount_minor,
            currency=original.order.currency,
            reference_id=original.unique_id,
        )
        unique_id = hashlib.blake2b(order.transaction_id.encode(), digest_size=16).hexdigest()
        refund = self.ledger.add(
            order, status="pending_async", unique_id=unique_id, now=self.now, is_notified=is_notified
        )
        self.transition(refund, Transition(status))
        return refund

    def _void(self, token: str, fields: Fields) -> Answer:
        original = self._original(fields, types=SALES)
        if (
            original.status not in {"pending_async", "approved"}
            or original.taken_at.date() != self.now.date()
        ):
            raise Refused("420", "reference transaction cannot be voided any more")
        money = {"amount": str(original.order.amount_minor), "currency": original.order.currency}
        answer, void = self._process(token, fields | money, fingerprint="")
        if void is not None:
            original.ahead.clear()
            self.transition(original, Transition("voided"))
        return answer

    def _original(self, fields: Fields, *, types: frozenset[str]) -> Debit:
        original = self.ledger.found(unique_id=fields["reference_id"])
        if original is None or original.order.type not in types:
            raise Refused("410", "no such reference transaction")
        return original

    def _take(self, token: str, fields: Fields, *, fingerprint: str) -> Answer:
        return self._process(token, fields, fingerprint=fingerprint)[0]

    def _process(self, token: str, fields: Fields, *, fingerprint: str) -> tuple[Answer, Debit | None]:
        """Choose the outcome, record what is taken, and respond as scripted."""
        own_id = fields["transaction_id"]
        nth = self._sent_times[own_id] = self._sent_times.get(own_id, 0) + 1
        script = outcome(fields, nth=nth, setup=msgspec.structs.replace(self.setup, faults=self.faults))
        if fields["transaction_type"] == "void" and script.taken:
            script = msgspec.structs.replace(script, status="approved", transitions=())  # at once, or never
        if not script.taken:
            named = own_id if script.failure_mode in {"429 refusal", "422 refusal"} else None
            body = responses.refusal(script.code or "100", script.name, transaction_id=named)
            return Answer(body, failure_mode=script.failure_mode), None
        debit = self._record(token, fields, script=script, fingerprint=fingerprint, nth=nth)
        # Some responses are errors although the debit was taken.
        is_wrong = bool(script.code) and script.number >= LOST_RESPONSES
        body = responses.payment(
            debit, status="error" if is_wrong else None, code=script.code if is_wrong else None
        )
        return Answer(body, failure_mode=script.failure_mode), debit

    def _record(self, token: str, fields: Fields, *, script: Script, fingerprint: str, nth: int = 1) -> Debit:
        order = ReceivedOrder(
            transaction_id=fields["transaction_id"],
            type=fields["transaction_type"],
            terminal=token,
            amount_minor=int(fields["amount"]),
            currency=fields["currency"],
            fingerprint=fingerprint,
            reference_id=fields.get("reference_id", ""),
        )
        now = self.now
        # A distinct id for every debit, the same in every run.
        seed = f"{self.setup.seed}:{order.transaction_id}:{order.type}:{nth}"
        debit = self.ledger.add(
            order,
            status=script.status,
            unique_id=hashlib.blake2b(seed.encode(), digest_size=16).hexdigest(),
            now=now,
            code=script.code if script.status in {"declined", "error"} else "",
            visible_at=now + timedelta(seconds=self.setup.hidden_s) if script.hidden else None,
            is_notified=script.is_notified,
            ahead=script.transitions,
        )
        self._schedule(debit)
        return debit

    # --- inquiries ---

    def reconcile(self, token: str, fields: Fields) -> Answer:
        """
        Return the status of a payment.

        Args:
            token: The terminal's; payments of other terminals are not found.
            fields: Texts by path, among them exactly one id.

        Raises:
            Refused: when the inquiry is invalid or there is no such payment.
        """
        given = [name for name in ("unique_id", "transaction_id", "arn") if fields.get(name)]
        if len(given) != 1:
            raise Refused("340" if given else "320", "give exactly one of unique_id, transaction_id and arn")
        debit = self.ledger.found(
            unique_id=fields.get("unique_id"), transaction_id=fields.get("transaction_id")
        )
        if self._is_faulty():
            return Answer(b"", failure_mode="500")
        if debit is None or debit.order.terminal != token or debit.visible_at > self.now:
            raise Refused("460", "Transaction with the given unique ID cannot be found!")
        return Answer(responses.payment(debit.as_of(self._recorded_to)))

    def by_date(self, token: str, fields: Fields) -> Answer:
        """
        List the payments of a window.

        Args:
            token: The terminal's.
            fields: Texts by path: start_date, end_date, page.

        Raises:
            Refused: when the inquiry is invalid.
        """
        for name in ("start_date", "end_date"):
            if not fields.get(name):
                raise Refused("320", f"{name} is missing!")
        start_at = _timestamp(fields["start_date"], name="start_date")
        end_at = _timestamp(fields["end_date"], name="end_date", at_end=True)
        if not start_at <= end_at < start_at + _WINDOW_MAX + timedelta(seconds=1):
            raise Refused("340", "the range must not exceed 7 days")
        page = _number(fields.get("page", "1"), name="page")
        if self._is_faulty():
            return Answer(b"", failure_mode="500")
        within = self.ledger.within(start_at=start_at, end_at=end_at, terminal=token, now=self.now)
        found = [debit.as_of(self._recorded_to) for debit in within]
        return Answer(responses.payments(found, page=page, per_page=_PER_PAGE))

    def chargebacks(self, fields: Fields) -> Answer:
        """
        List the chargebacks of a payment or of a day.

        Args:
            fields: Texts by path.

        Raises:
            Refused: when the inquiry is invalid or there are none.
        """
        page = _number(fields.get("page", "1"), name="page")
        per_page = _number(fields.get("per_page", str(_PER_PAGE)), name="per_page")
        found = self.ledger.chargebacks_of(unique_id=fields.get("original_transaction_unique_id"))
        if "original_transaction_unique_id" not in fields:
            if not (fields.get("import_date") or fields.get("start_date")):
                raise Refused("320", "original_transaction_unique_id is missing!")
            if self.setup.scope_required and not fields.get("scope"):
                raise Refused("320", "scope is missing!")
            day = _timestamp(fields.get("import_date") or fields["start_date"], name="import_date").date()
            # Nothing is found by posting date: direct debits have none.
            found = self.ledger.chargebacks_imported(day) if fields.get("import_date") else []
        if self._is_faulty():
            return Answer(b"", failure_mode="500")
        found = [record for record in found if record.imported_at <= self._recorded_to]
        if not found:
            raise Refused("470", "no chargebacks found")
        pairs = [(record, self.ledger.debits[record.original_id]) for record in found]
        return Answer(responses.chargebacks(pairs, page=page, per_page=per_page))

    @property
    def _recorded_to(self) -> datetime:
        """The time up to which records and lists are current."""
        return self.now - timedelta(seconds=self.setup.record_lag_s)

    def _is_faulty(self) -> bool:
        return self._rng.random() < self.faults.inquiries_failed


def _notification(debit: Debit, transition: Transition, *, dispute_id: str) -> Fields:
    order = debit.order
    # The field table and the samples of the documentation spell it differently; so do real notifications.
    spelling = "reason" if int(dispute_id[0], 16) % 2 else "rc"
    disputed = transition.event not in {"", "retrieval_request"}
    fields = {
        "transaction_id": order.transaction_id,
        "unique_id": debit.unique_id,
        "transaction_type": order.type,
        "terminal_token": order.terminal,
        "status": transition.status,
        "amount": transition.amount or str(order.amount_minor),
        "currency": transition.currency or order.currency,
        "event": transition.event,
        f"{spelling}_code": transition.reason_code,
        "chargeback_unique_id": dispute_id if disputed else "",
        "error_code": transition.error_code,
        "reference_transaction_unique_id": order.reference_id,
    }
    return {name: value for name, value in fields.items() if value}


def _timestamp(text: str, *, name: str, at_end: bool = False) -> datetime:
    """`yyyy-mm-dd`, optionally with ` hh:mm:ss`; a bare day means its beginning, or its end."""
    try:
        if len(text) == len("yyyy-mm-dd"):
            return datetime.combine(date.fromisoformat(text), time.max if at_end else time.min, tzinfo=UTC)
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("340", f"{name} has an invalid format") from None


def _number(text: str, *, name: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:10]) <= 999):
        raise Refused("340", f"{name} is invalid")
    return int(text)
