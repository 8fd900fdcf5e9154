"""The lists of the console, as values: the API route they show, their filters and their columns."""

from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec
from tether_core.audit import ACTIONS
from tether_core.billing.run import RunState
from tether_core.bulk_orders import BulkAction, BulkOrderState
from tether_core.notifications.inbox import InboxState
from tether_core.payments.attempt import AttemptState
from tether_core.reconciliation.differences import DifferenceKind
from tether_core.recurring.pre_notification import NoticeState
from tether_core.recurring.schedule import ScheduleState
from tether_core.refunds.refund import RefundState
from tether_core.screening.verdicts import RULES
from tether_core.uploads.upload import UploadState
from tether_core.vop import CheckState, Result

__all__ = ["LISTINGS", "Column", "Filter", "Listing"]

Kind: TypeAlias = Literal["text", "link", "money", "time", "state", "number", "size"]


class Column(msgspec.Struct, frozen=True):
    """
    A column of a list.

    Attributes:
        name: The field of the API's row; dots go into a field.
        title: Its heading.
        kind: How the value is written. "link" leads to the page of the row.
        page: For "link": the path before the value, where it is not the list's own.
        text: For "link": what to write in place of the value.
    """

    name: str
    title: str
    kind: Kind = "text"
    page: str = ""
    text: str = ""


class Filter(msgspec.Struct, frozen=True):
    """
    A filter of a list; its name is the API's parameter.

    Attributes:
        name: The parameter.
        title: The label.
        choices: The values there are, where they are few.
        kind: What is typed: "since" is a day where the API takes a time, its beginning by UTC; "amount" is in euros where the API takes cents.
    """

    name: str
    title: str
    choices: tuple[str, ...] = ()
    kind: Literal["text", "number", "date", "since", "amount"] = "text"

    @property
    def field(self) -> str:
        """The name in the form; an amount has one of its own, because an address may hold cents by the API's name."""
        return self.name.removesuffix("_minor") if self.kind == "amount" else self.name

    def parameter(self, value: str) -> str:
        """What the API gets for a value of the form."""
        return f"{value}T00:00:00Z" if self.kind == "since" and len(value) == _DAY_LENGTH else value


class Listing(msgspec.Struct, frozen=True):
    """
    A list.

    Attributes:
        page: Its path in the console.
        api: The route it shows.
        title: The heading.
        about: One sentence on what is listed.
        columns: Left to right.
        filters: In the order of the form.
        empty: What to say where nothing matches.
        has_forms: Whether the route counts what matches, and writes it as a file.
        bulk: What can be done to everything that matches.
        within: The filter that the page itself is, as bulk orders name it, such as ("collection_plan", "4").
        above: A template that stands above the list, such as a form.
        back: Path and title of the page to which the list belongs.
    """

    page: str
    api: str
    title: str
    about: str
    columns: tuple[Column, ...]
    filters: tuple[Filter, ...] = ()
    empty: str = "Nothing matches."
    has_forms: bool = False
    bulk: tuple[BulkAction, ...] = ()
    within: tuple[str, str] | None = None
    above: str = ""
    back: tuple[str, str] | None = None


_DAY_LENGTH: Final = len("2026-03-02")
_AMOUNT: Final = Column("amount_minor", "Amount", "money")


def _state_of(states: Any) -> Filter:
    """The filter by state of a list whose states are the words of a `Literal`."""
    return Filter("status", "State", get_args(states))


LISTINGS: Final = (
    Listing(
        "/uploads",
        "/api/uploads",
        "Uploads",
        "Files of debtors, newest first.",
        (
            Column("id", "Upload", "link"),
            Column("filename", "File"),
            Column("state", "State", "state"),
            Column("row_counts.rows", "Rows", "number"),
            Column("row_counts.stored", "Debtors", "number"),
            Column("row_counts.refused", "Refused", "number"),
            Column("size_bytes", "Size", "size"),
            Column("added_by", "By"),
            Column("created_at", "Received", "time"),
        ),
        (
            _state_of(UploadState),
            Filter("filename", "File name contains"),
            Filter("account", "Billed with account"),
        ),
        empty="No file was uploaded yet. Choose one above.",
        has_forms=True,
        bulk=("withdraw",),
        above="_upload_form.html",
    ),
    Listing(
        "/runs",
        "/api/billing-runs",
        "Billing runs",
        "Orders to debit the debtors of an upload, newest first.",
        (
            Column("id", "Run", "link"),
            Column("upload_id", "Upload", "link", "/uploads"),
            Column("options.due_item", "Due item"),
            Column("state", "State", "state"),
            Column("count", "Debits", "number"),
            Column("amount_minor", "Amount", "money"),
            Column("account", "Account"),
            Column("created_by", "By"),
            Column("created_at", "Ordered", "time"),
        ),
        (_state_of(RunState), Filter("upload", "Upload", kind="number"), Filter("account", "Account")),
        empty="No run was ordered yet. Open an upload to bill it.",
        has_forms=True,
    ),
    Listing(
        "/payments",
        "/api/billing-attempts",
        "Payments",
        "Billing attempts, newest first.",
        (
            Column("id", "Payment", "link"),
            Column("status", "State", "state"),
            _AMOUNT,
            Column("reason_code", "Reason"),
            Column("error_code", "Error"),
            Column("debtor_id", "Debtor", "link", "/debtors"),
            Column("run_id", "Run", "link", "/runs"),
            Column("account", "Account"),
            Column("updated_at", "Changed", "time"),
        ),
        (
            _state_of(AttemptState),
            Filter("reason_code", "Reason code, e.g. AC04"),
            Filter("upload", "Upload", kind="number"),
            Filter("run", "Run", kind="number"),
            Filter("debtor", "Debtor", kind="number"),
            Filter("account", "Account"),
            Filter("unique_id", "Unique id"),
            Filter("transaction_id", "Transaction id"),
            Filter("amount_min_minor", "Amount from", kind="amount"),
            Filter("amount_max_minor", "Amount to", kind="amount"),
            Filter("created_from", "Made from (UTC day)", kind="since"),
            Filter("created_to", "Made before (UTC day)", kind="since"),
            Filter("country", "Country, e.g. DE"),
            Filter("bank", "Bank (BIC)"),
        ),
        has_forms=True,
        bulk=("inquire", "void", "refund"),
    ),
    Listing(
        "/refunds",
        "/api/refunds",
        "Refunds and voids",
        "Orders to return money, newest first.",
        (
            Column("id", "Refund"),
            Column("attempt_id", "Payment", "link", "/payments"),
            Column("kind", "Kind"),
            Column("status", "State", "state"),
            _AMOUNT,
            Column("error_code", "Error"),
            Column("account", "Account"),
            Column("ordered_by", "By"),
            Column("created_at", "Ordered", "time"),
        ),
        (_state_of(RefundState), Filter("account", "Account")),
        empty="No refund or void was ordered. Open a payment to return its money.",
        has_forms=True,
    ),
    Listing(
        "/debtors",
        "/api/debtors",
        "Debtors",
        "Rows of uploads, with the verdict of screening.",
        (
            Column("id", "Debtor", "link"),
            Column("name", "Name"),
            Column("iban_masked", "Account"),
            _AMOUNT,
            Column("reference", "Reference"),
            Column("verdict", "Verdict", "state"),
            Column("upload_id", "Upload", "link", "/uploads"),
            Column("row", "Row", "number"),
        ),
        (
            Filter("name", "Name begins with"),
            Filter("reference", "Reference begins with"),
            Filter("iban_tail", "IBAN ends with"),
            Filter("verdict", "Verdict", ("clear", *RULES)),
            Filter("upload", "Upload", kind="number"),
        ),
        has_forms=True,
        above="_debtors_form.html",
    ),
    Listing(
        "/notifications",
        "/api/webhook-events",
        "Notifications",
        "What the gateway reported, newest first.",
        (
            Column("id", "Notification", "link"),
            Column("state", "State", "state"),
            Column("status", "Reported"),
            Column("event", "Event"),
            Column("reason", "Reason"),
            Column("failures", "Failures", "number"),
            Column("attempt_id", "Payment", "link", "/payments"),
            Column("account", "Account"),
            Column("received_at", "Received", "time"),
        ),
        (
            _state_of(InboxState),
            Filter("unique_id", "Unique id"),
            Filter("account", "Account, with a state or a unique id"),
        ),
        empty="Nothing matches. The gateway reports here once debits are submitted.",
        has_forms=True,
        bulk=("replay",),
    ),
    Listing(
        "/blacklist",
        "/api/blacklist",
        "Blacklist",
        "Accounts, names, e-mail addresses and banks that must not be debited.",
        (
            Column("id", "Entry", "link"),
            Column("iban_masked", "Account"),
            Column("name", "Name"),
            Column("email", "E-mail"),
            Column("bic", "Bank"),
            Column("reason_code", "Reason"),
            Column("source", "Source"),
            Column("added_by", "By"),
            Column("created_at", "Added", "time"),
            Column("lifted_at", "Lifted", "time"),
        ),
        (
            Filter("which", "Which", ("live", "ended", "all")),
            Filter("reason", "Reason code"),
            Filter("source", "Source", ("chargeback", "manual", "import")),
            Filter("name", "Name"),
            Filter("email", "E-mail"),
            Filter("bic", "Bank (BIC)"),
        ),
        empty="Nobody is on the blacklist. Returned debits add entries by themselves; add one by hand above.",
        has_forms=True,
        bulk=("lift",),
        above="_blacklist_form.html",
    ),
    Listing(
        "/checks/all",
        "/api/vop/checks",
        "Name checks of all uploads",
        "Checks of debtors, the newest debtors first.",
        (
            Column("debtor_id", "Debtor", "link", "/debtors"),
            Column("upload_id", "Upload", "link", "/uploads"),
            Column("state", "State", "state"),
            Column("result", "Result", "state"),
            Column("score", "Score", "number"),
            Column("name", "Name"),
            Column("iban", "IBAN"),
            Column("bank_name", "Name of the bank"),
            Column("provider", "Answered by"),
            Column("account", "Paid by"),
            Column("checked_at", "Checked", "time"),
        ),
        (_state_of(CheckState), Filter("result", "Result", get_args(Result))),
        empty="Nothing matches. Checks are ordered on the page of an upload.",
        has_forms=True,
        back=("/checks", "Name checks"),
    ),
    Listing(
        "/differences",
        "/api/reconciliation-differences",
        "Differences",
        "What the gateway's books and ours say differently.",
        (
            Column("id", "Difference", "link"),
            Column("kind", "Kind"),
            Column("state", "State", "state"),
            Column("attempt_id", "Payment", "link", "/payments"),
            Column("ours", "Ours"),
            Column("theirs", "Gateway's"),
            Column("text", "Meaning"),
            Column("first_seen_at", "Since", "time"),
        ),
        (Filter("kind", "Kind", get_args(DifferenceKind)), Filter("status", "State", ("open", "all"))),
        empty="The books agree.",
        has_forms=True,
        back=("/reconciliation", "Reconciliation"),
    ),
    Listing(
        "/collection-plans",
        "/api/collection-plans",
        "Recurring collection",
        "Collection plans, newest first: debits that repeat, such as a membership. Each debtor of a plan has a schedule under a mandate.",
        (
            Column("id", "Plan", "link"),
            Column("name", "Name"),
            Column("state", "State", "state"),
            Column("state_reason", "Because"),
            Column("account", "Account"),
            Column("created_by", "By"),
            Column("created_at", "Added", "time"),
        ),
        (_state_of(ScheduleState), Filter("account", "Account")),
        empty="There is no collection plan yet. Add one above, then enrol the debtors of an upload.",
        has_forms=True,
        above="_plan_form.html",
    ),
    Listing(
        "/mandates",
        "/api/mandates",
        "Mandates",
        "What debtors have signed, newest first.",
        (
            Column("id", "Mandate", "link"),
            Column("reference", "Reference"),
            Column("state", "State", "state"),
            Column("kind", "Kind"),
            Column("debtor_id", "Debtor", "link", "/debtors"),
            Column("iban_masked", "For the account"),
            Column("signed_on", "Signed on"),
            Column("last_used_on", "Last used on"),
            Column("uses", "Debits", "number"),
            Column("account", "Gateway account"),
        ),
        (Filter("account", "Gateway account"), Filter("debtor", "Debtor", kind="number")),
        empty="There is no mandate yet. Enrolling debtors in a collection plan makes them.",
        has_forms=True,
        above="_mandate_form.html",
        back=("/collection-plans", "Recurring collection"),
    ),
    Listing(
        "/pre-notifications",
        "/api/pre-notifications",
        "Pre-notifications",
        "Announcements of debits to debtors, oldest first. Download the list, send it, and record that it was given.",
        (
            Column("id", "Notice", "number"),
            Column("status", "State", "state"),
            Column("debtor_id", "Debtor", "link", "/debtors"),
            Column("name", "Name"),
            Column("due_on", "Debited on"),
            Column("give_on", "Give until"),
            _AMOUNT,
            Column("given_at", "Given", "time"),
            Column("given_by", "By"),
        ),
        (
            _state_of(NoticeState),
            Filter("upload", "Upload", kind="number"),
            Filter("give_until", "To be given until", kind="date"),
        ),
        empty="No pre-notification waits. They are made some days before each due date of a plan with notice days.",
        has_forms=True,
        above="_notices_form.html",
        back=("/collection-plans", "Recurring collection"),
    ),
    Listing(
        "/bulk-orders",
        "/api/bulk-orders",
        "Bulk orders",
        "One action for everything that matches the filter of a list, newest first. Filter a list, and choose the action below it.",
        (
            Column("id", "Order", "link"),
            Column("action", "Action"),
            Column("state", "State", "state"),
            Column("reason", "Reason"),
            Column("ordered_by", "By"),
            Column("created_at", "Ordered", "time"),
            Column("ended_at", "Ended", "time"),
        ),
        (Filter("action", "Action", get_args(BulkAction)), _state_of(BulkOrderState)),
        empty="Nothing matches. To order something, filter a list, and choose the action below it.",
        has_forms=True,
    ),
    Listing(
        "/audit",
        "/api/audit",
        "Audit",
        "Every action of a person or a program, newest first.",
        (
            Column("acted_at", "When", "time"),
            Column("actor", "Who"),
            Column("actor_kind", "As"),
            Column("address", "From"),
            Column("action", "Action"),
            Column("subject", "What"),
            Column("subject_id", "Id"),
            Column("reason", "Reason"),
            Column("change", "Change"),
        ),
        (
            Filter("actor", "Who"),
            Filter("action", "Action", ACTIONS),
            Filter("subject", "What, e.g. run"),
            Filter("subject_id", "Id"),
            Filter("from", "From (UTC day)", kind="since"),
            Filter("to", "Before (UTC day)", kind="since"),
        ),
        empty="Nothing matches. Every action of a person or a program is listed here.",
        has_forms=True,
    ),
)
