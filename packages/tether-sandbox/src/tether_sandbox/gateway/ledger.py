"""
The simulator's ledger: every debit it accepted, with its transitions.

Tests about money compare a client's state with this ledger, which says what the gateway did. It is kept in memory.

>>> from datetime import UTC, datetime
>>> ledger, noon = Ledger(), datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> order = ReceivedOrder("t-7", "sdd_sale", "terminal-1", 300, "EUR", fingerprint="ab")
>>> debit = ledger.add(order, status="pending_async", unique_id="44177a21", now=noon)
>>> ledger.transition(debit, Transition("approved"), now=noon)
>>> ledger.debited(transaction_id="t-7")
1
>>> repeated = ledger.add(order, status="pending_async", unique_id="55177a21", now=noon)
>>> ledger.debited_twice()    # the merchant's id, debited more than once: this must never happen
['t-7']
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Final

import msgspec

from tether_sandbox.gateway.payment_history import Transition

__all__ = ["SALES", "ChargebackRecord", "Debit", "Ledger", "ReceivedOrder"]

SALES: Final = frozenset({"sdd_sale", "sdd_init_recurring_sale", "sdd_recurring_sale"})
# Statuses in which no money was taken.
_NOTHING_TAKEN: Final = frozenset({"declined", "error", "voided"})
_PAYS_BACK: Final = frozenset({"sdd_refund", "void"})
# Statuses in which the debtor's bank has the money.
_LOST: Final = frozenset({"chargebacked", "second_chargebacked", "representment_reversed"})

# Types of dispute in the lists. The gateway spells them in several ways, so the simulator does, too.
_TYPES: Final = {
    "chargeback": ("1st Chargeback", "1st chargeback", "1st Chargeback "),
    "chargeback_reversal": ("1st Chargeback Reversal", "1st chargeback reversal"),
    "representment": ("Representment", "Re-presentment", "re-presentment"),
    "representment_reversal": ("Representment Reversal",),
    "second_chargeback": ("2nd Chargeback", "2nd chargeback"),
}


class ReceivedOrder(msgspec.Struct, frozen=True):
    """
    The content of a transaction request.

    Attributes:
        transaction_id: The merchant's id.
        type: "sdd_sale", "sdd_refund" and so on.
        terminal: The token of the terminal.
        amount_minor: Whole minor units.
        currency: ISO 4217.
        fingerprint: Of the IBAN, hex; "" if there is a reference instead.
        reference_id: The gateway's id of the referenced payment, or "".
    """

    transaction_id: str
    type: str
    terminal: str
    amount_minor: int
    currency: str
    fingerprint: str = ""
    reference_id: str = ""


class ChargebackRecord(msgspec.Struct, frozen=True):
    """
    A record of the chargeback lists.

    Attributes:
        unique_id: The dispute's own id.
        original_id: The gateway's id of the payment that was charged back.
        type: As the list spells it.
        reason_code: The bank's reason, or "".
        imported_at: When the gateway recorded it.
    """

    unique_id: str
    original_id: str
    type: str
    reason_code: str
    imported_at: datetime


class Debit(msgspec.Struct):
    """
    One record: a debit, a refund or a void.

    Attributes:
        order: What was asked for.
        unique_id: The gateway's id.
        status: What it is now.
        code: The error code, or "".
        taken_at: When it came in.
        visible_at: Before this it cannot be found.
        is_notified: Whether notifications are sent of it.
        ahead: Its future history.
        past: Its history so far, in order.
        changes: When its status changed, and what status and code it had before, in order.
    """

    order: ReceivedOrder
    unique_id: str
    status: str
    taken_at: datetime
    visible_at: datetime
    code: str = ""
    is_notified: bool = True
    ahead: list[Transition] = msgspec.field(default_factory=list)
    past: list[Transition] = msgspec.field(default_factory=list)
    changes: list[tuple[datetime, str, str]] = msgspec.field(default_factory=list)

    def as_of(self, timestamp: datetime) -> "Debit":
        """The record as it was at an earlier time, for responses that lag."""
        for at, status, code in self.changes:
            if at > timestamp:
                return msgspec.structs.replace(self, status=status, code=code)
        return self

    @property
    def took_money(self) -> bool:
        """Whether this is a debit that took or will take money, refunded later or not."""
        return self.order.type in SALES and self.status not in _NOTHING_TAKEN


class Ledger:
    """
    The ledger. It is used by one event loop, so it needs no locks.

    Attributes:
        debits: All records by unique_id, in the order of arrival.
        chargebacks: All records of the chargeback lists, in the order of arrival.
    """

    def __init__(self) -> None:
        self.debits = dict[str, Debit]()
        self.chargebacks = list[ChargebackRecord]()
        self._by_transaction = dict[str, list[Debit]]()
        self._by_fingerprint = dict[str, list[Debit]]()
        self._by_reference = dict[str, list[Debit]]()

    def add(
        self,
        order: ReceivedOrder,
        *,
        status: str,
        unique_id: str,
        now: datetime,
        code: str = "",
        visible_at: datetime | None = None,
        is_notified: bool = True,
        ahead: Iterable[Transition] = (),
    ) -> Debit:
        """
        Add a record.

        Args:
            status: Its first status.
            unique_id: The gateway's id.
            code: The error code, or "".
            visible_at: It cannot be found before this time; `None` for *now*.
            is_notified: Whether notifications are sent.
            ahead: Its later transitions.
        """
        debit = Debit(order, unique_id, status, now, visible_at or now, code, is_notified, list(ahead))
        self.debits[unique_id] = debit
        self._by_transaction.setdefault(order.transaction_id, []).append(debit)
        if order.fingerprint:
            self._by_fingerprint.setdefault(order.fingerprint, []).append(debit)
        if order.reference_id:
            self._by_reference.setdefault(order.reference_id, []).append(debit)
        return debit

    def transition(
        self, debit: Debit, transition: Transition, *, now: datetime, dispute_id: str = ""
    ) -> None:
        """
        Record a transition of a debit. A retrieval request does not change its status.

        Args:
            dispute_id: The dispute's own id, for the chargeback lists.
        """
        debit.past.append(transition)
        if transition.event == "retrieval_request":
            return
        debit.changes.append((now, debit.status, debit.code))
        debit.status = transition.status
        debit.code = transition.error_code
        types = _TYPES.get(transition.event)
        if types:
            spelling = types[len(self.chargebacks) % len(types)]
            self.chargebacks.append(
                ChargebackRecord(dispute_id, debit.unique_id, spelling, transition.reason_code, now)
            )

    def found(self, *, unique_id: str | None = None, transaction_id: str | None = None) -> Debit | None:
        """
        Find the record with an id, hidden or not.

        Args:
            unique_id: The gateway's id, or
            transaction_id: the merchant's; the last of several.
        """
        if unique_id is not None:
            return self.debits.get(unique_id)
        same = self._by_transaction.get(transaction_id or "")
        return same[-1] if same else None

    def records(
        self,
        *,
        unique_id: str | None = None,
        transaction_id: str | None = None,
        fingerprint: str | None = None,
    ) -> Sequence[Debit]:
        """
        List the records with an id or of an account, or all records, in the order of arrival.

        Args:
            unique_id: The gateway's id, or
            transaction_id: the merchant's, or
            fingerprint: the account's, hex.
        """
        if unique_id is not None:
            return [debit for debit in (self.debits.get(unique_id),) if debit]
        if transaction_id is not None:
            return self._by_transaction.get(transaction_id, ())
        if fingerprint is not None:
            return self._by_fingerprint.get(fingerprint, ())
        return list(self.debits.values())

    def referring(self, unique_id: str) -> Sequence[Debit]:
        """List the records that refer to a payment: its refunds, voids and later debits."""
        return self._by_reference.get(unique_id, ())

    def debited(self, *, transaction_id: str | None = None, fingerprint: str | None = None) -> int:
        """
        Count the debits that took or will take money; declined, failed and voided ones do not count.

        Args:
            transaction_id: The merchant's id, or
            fingerprint: the account's, hex.
        """
        same = self.records(transaction_id=transaction_id, fingerprint=fingerprint)
        return sum(debit.took_money for debit in same)

    def debited_twice(self) -> list[str]:
        """List the merchant's ids for which money was taken more than once; this must be empty."""
        return [
            own for own, same in self._by_transaction.items() if sum(debit.took_money for debit in same) > 1
        ]

    def paid_back(self, unique_id: str) -> int:
        """
        The amount returned to the debtor of a payment, by refunds and chargebacks together.

        Returns:
            Whole minor units; more than the debit's amount means that it was refunded and charged back.
        """
        debit = self.debits[unique_id]
        by_merchant = sum(
            other.order.amount_minor
            for other in self.referring(unique_id)
            if other.order.type in _PAYS_BACK and other.status == "approved"
        )
        by_bank = debit.order.amount_minor if debit.status in _LOST else 0
        return by_merchant + by_bank

    def refunded_and_charged_back(self) -> list[str]:
        """List the merchant's ids of debits for which more was returned than taken."""
        return [
            debit.order.transaction_id
            for debit in self.debits.values()
            if debit.order.type in SALES and self.paid_back(debit.unique_id) > debit.order.amount_minor
        ]

    def refunded(self) -> dict[str, tuple[int, int]]:
        """Number and sum in minor units of approved refunds and voids, by type."""
        numbers, sums = Counter[str](), Counter[str]()
        for debit in self.debits.values():
            if debit.order.type in _PAYS_BACK and debit.status == "approved":
                numbers[debit.order.type] += 1
                sums[debit.order.type] += debit.order.amount_minor
        return {kind: (number, sums[kind]) for kind, number in numbers.items()}

    def by_status(self) -> dict[str, tuple[int, int]]:
        """Number and sum in minor units of the debits in each status; refunds and voids excluded."""
        numbers, sums = Counter[str](), Counter[str]()
        for debit in self.debits.values():
            if debit.order.type in SALES:
                numbers[debit.status] += 1
                sums[debit.status] += debit.order.amount_minor
        return {status: (number, sums[status]) for status, number in numbers.items()}

    def within(self, *, start_at: datetime, end_at: datetime, terminal: str, now: datetime) -> list[Debit]:
        """List the visible records of a terminal within a window, both ends included, in the order of arrival."""
        return [
            debit
            for debit in self.debits.values()
            if start_at <= debit.taken_at <= end_at
            and debit.order.terminal == terminal
            and debit.visible_at <= now
        ]

    def chargebacks_of(self, *, unique_id: str | None) -> list[ChargebackRecord]:
        """List the chargeback records of a payment."""
        return [record for record in self.chargebacks if record.original_id == unique_id]

    def chargebacks_imported(self, day: date) -> list[ChargebackRecord]:
        """List the chargeback records of an import date."""
        return [record for record in self.chargebacks if record.imported_at.date() == day]
