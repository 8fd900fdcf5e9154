"""
The simulator's own books: every debit it took, what became of it, and how often anybody was debited.

This is the other side of every test about money: whatever a client believes, these books say what the gateway did.
They live in memory and die with the simulator.

>>> from datetime import UTC, datetime
>>> books, noon = Ledger(), datetime(2026, 3, 2, 12, tzinfo=UTC)
>>> asked = Order("t-7", "sdd_sale", "terminal-1", 300, "EUR", fingerprint="ab")
>>> item = books.take(asked, status="pending_async", unique_id="44177a21", now=noon)
>>> books.transition(item, Transition("approved"), now=noon)
>>> books.debited(transaction_id="t-7")
1
>>> again = books.take(asked, status="pending_async", unique_id="55177a21", now=noon)
>>> books.twice()    # the same id of the merchant, debited more than once: what must never be
['t-7']
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Final

import msgspec

from tether_sandbox.gateway.payment_history import Transition

__all__ = ["SALES", "Back", "Debit", "Ledger", "Order"]

SALES: Final = frozenset({"sdd_sale", "sdd_init_recurring_sale", "sdd_recurring_sale"})
# Where no money was taken in the end.
_NOTHING_TAKEN: Final = frozenset({"declined", "error", "voided"})
_PAYS_BACK: Final = frozenset({"sdd_refund", "void"})
# Where the debtor's bank has the money.
_LOST: Final = frozenset({"chargebacked", "second_chargebacked", "representment_reversed"})

# What the lists call a turn of a dispute. The gateway spells these in several ways, so the simulator does, too.
_TYPES: Final = {
    "chargeback": ("1st Chargeback", "1st chargeback", "1st Chargeback "),
    "chargeback_reversal": ("1st Chargeback Reversal", "1st chargeback reversal"),
    "representment": ("Representment", "Re-presentment", "re-presentment"),
    "representment_reversal": ("Representment Reversal",),
    "second_chargeback": ("2nd Chargeback", "2nd chargeback"),
}


class Order(msgspec.Struct, frozen=True):
    """
    What a merchant asked for.

    Attributes:
        transaction_id: The merchant's id.
        type: "sdd_sale", "sdd_refund" and so on.
        terminal: The terminal it came in by.
        amount_minor: Whole minor units.
        currency: Three capitals.
        fingerprint: Of the IBAN, hex; "" where a reference stands for it.
        reference_id: The gateway's id of the payment that this one refers to, or "".
    """

    transaction_id: str
    type: str
    terminal: str
    amount_minor: int
    currency: str
    fingerprint: str = ""
    reference_id: str = ""


class Back(msgspec.Struct, frozen=True):
    """
    One record of the chargeback lists.

    Attributes:
        unique_id: The dispute's own id.
        of: The payment that came back.
        type: As the list calls it.
        reason_code: The bank's reason, or "".
        imported_at: When the gateway took it in.
    """

    unique_id: str
    of: str
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
        ahead: What will yet become of it.
        past: What became of it, in order.
        changes: When its status changed, and what status and code it had before, in order.
    """

    order: Order
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
        """The record as it was at a time, for whoever reads records that lag."""
        for at, status, code in self.changes:
            if at > timestamp:
                return msgspec.structs.replace(self, status=status, code=code)
        return self

    @property
    def took_money(self) -> bool:
        """Whether this is a debit by which money was or will be taken, refunded later or not."""
        return self.order.type in SALES and self.status not in _NOTHING_TAKEN


class Ledger:
    """
    The books. One event loop writes and reads them; no locks are needed.

    Attributes:
        debits: All records by unique_id, in the order they came in.
        backs: All records of the chargeback lists, in the order they came in.
    """

    def __init__(self) -> None:
        self.debits = dict[str, Debit]()
        self.backs = list[Back]()
        self._by_transaction = dict[str, list[Debit]]()
        self._by_fingerprint = dict[str, list[Debit]]()
        self._by_reference = dict[str, list[Debit]]()

    def take(
        self,
        order: Order,
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
        Take something into the books.

        Args:
            order: What was asked for.
            status: What it is at first.
            unique_id: The gateway's id for it.
            now: The current time.
            code: The error code, or "".
            visible_at: Before this it cannot be found; `None` for now.
            is_notified: Whether notifications are sent of it.
            ahead: What will become of it.

        Returns:
            The record.
        """
        debit = Debit(order, unique_id, status, now, visible_at or now, code, is_notified, list(ahead))
        self.debits[unique_id] = debit
        self._by_transaction.setdefault(order.transaction_id, []).append(debit)
        if order.fingerprint:
            self._by_fingerprint.setdefault(order.fingerprint, []).append(debit)
        if order.reference_id:
            self._by_reference.setdefault(order.reference_id, []).append(debit)
        return debit

    def transition(self, debit: Debit, transition: Transition, *, now: datetime, back_id: str = "") -> None:
        """
        Let something become of a debit.

        Args:
            debit: Which.
            transition: What. A retrieval request moves nothing.
            now: The current time.
            back_id: The dispute's own id, for the chargeback lists.
        """
        debit.past.append(transition)
        if transition.event == "retrieval_request":
            return
        debit.changes.append((now, debit.status, debit.code))
        debit.status = transition.status
        debit.code = transition.error_code
        types = _TYPES.get(transition.event)
        if types:
            spelling = types[len(self.backs) % len(types)]
            self.backs.append(Back(back_id, debit.unique_id, spelling, transition.reason_code, now))

    def found(self, *, unique_id: str | None = None, transaction_id: str | None = None) -> Debit | None:
        """
        The record with an id, hidden or not.

        Args:
            unique_id: The gateway's id, or
            transaction_id: the merchant's; of several the last.

        Returns:
            The record, or `None`.
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
        All records with an id, or of an account; all there are where nothing is given.

        Args:
            unique_id: The gateway's id, or
            transaction_id: the merchant's, or
            fingerprint: the account's, hex.

        Returns:
            In the order they came in.
        """
        if unique_id is not None:
            return [debit for debit in (self.debits.get(unique_id),) if debit]
        if transaction_id is not None:
            return self._by_transaction.get(transaction_id, ())
        if fingerprint is not None:
            return self._by_fingerprint.get(fingerprint, ())
        return list(self.debits.values())

    def referring(self, unique_id: str) -> Sequence[Debit]:
        """Records that refer to a payment: its refunds, voids and later debits."""
        return self._by_reference.get(unique_id, ())

    def debited(self, *, transaction_id: str | None = None, fingerprint: str | None = None) -> int:
        """
        How often somebody was debited.

        Args:
            transaction_id: Under the merchant's id, or
            fingerprint: by the account, hex.

        Returns:
            Debits by which money was or will be taken; declined, failed and voided ones do not count.
        """
        same = self.records(transaction_id=transaction_id, fingerprint=fingerprint)
        return sum(debit.took_money for debit in same)

    def twice(self) -> list[str]:
        """The merchant's ids under which money was taken more than once; must be empty, always."""
        return [
            own for own, same in self._by_transaction.items() if sum(debit.took_money for debit in same) > 1
        ]

    def paid_back(self, unique_id: str) -> int:
        """
        What the debtor of a payment got back, by the merchant and by the bank together.

        Args:
            unique_id: The gateway's id of the debit.

        Returns:
            Whole minor units; more than the debit's own amount means that money went back twice.
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
        """The merchant's ids of debits of which more went back than had been taken."""
        return [
            debit.order.transaction_id
            for debit in self.debits.values()
            if debit.order.type in SALES and self.paid_back(debit.unique_id) > debit.order.amount_minor
        ]

    def refunded(self) -> dict[str, tuple[int, int]]:
        """Number and sum in minor units of refunds and voids that were carried out, by type."""
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
        """
        Records of a terminal taken within a window.

        Args:
            start_at: Included.
            end_at: Included.
            terminal: Its token.
            now: The current time; what is hidden at it is excluded.

        Returns:
            In the order they came in.
        """
        return [
            debit
            for debit in self.debits.values()
            if start_at <= debit.taken_at <= end_at
            and debit.order.terminal == terminal
            and debit.visible_at <= now
        ]

    def backs_of(self, *, unique_id: str | None) -> list[Back]:
        """Records of the chargeback lists about a payment."""
        return [back for back in self.backs if back.of == unique_id]

    def imported(self, day: date) -> list[Back]:
        """Records of the chargeback lists taken in on a day."""
        return [back for back in self.backs if back.imported_at.date() == day]
