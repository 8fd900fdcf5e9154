"""The lists of the console, as values: the API route they show, their filters and their columns."""

from typing import Final, Literal, TypeAlias

import msgspec
from tether_core.bulk_orders import BulkAction

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
    """

    name: str
    title: str
    kind: Kind = "text"
    page: str = ""


class Filter(msgspec.Struct, frozen=True):
    """
    A filter of a list; its name is the API's parameter.

    Attributes:
        name: The parameter.
        title: The label.
        choices: The values there are, where they are few.
        kind: The type of the input field.
    """

    name: str
    title: str
    choices: tuple[str, ...] = ()
    kind: Literal["text", "number", "date", "datetime-local"] = "text"


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


_AMOUNT: Final = Column("amount_minor", "Amount", "money")

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
        (Filter("status", "State"),),
        empty="No file was uploaded yet. Choose one above.",
        bulk=("withdraw",),
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
        (Filter("status", "State"), Filter("upload", "Upload", kind="number")),
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
            Filter("status", "State"),
            Filter("reason_code", "Reason code"),
            Filter("upload", "Upload", kind="number"),
            Filter("run", "Run", kind="number"),
            Filter("debtor", "Debtor", kind="number"),
            Filter("account", "Account"),
            Filter("unique_id", "Unique id"),
            Filter("transaction_id", "Transaction id"),
            Filter("amount_min_minor", "Amount from (cents)", kind="number"),
            Filter("amount_max_minor", "Amount to (cents)", kind="number"),
            Filter("created_from", "Made from, e.g. 2026-03-02T00:00:00Z"),
            Filter("created_to", "Made before"),
            Filter("country", "Country"),
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
            Column("ordered_by", "By"),
            Column("created_at", "Ordered", "time"),
        ),
        (Filter("status", "State"),),
        empty="No money was returned on order.",
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
            Filter("verdict", "Verdict"),
            Filter("upload", "Upload", kind="number"),
        ),
        has_forms=True,
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
        (Filter("status", "State"), Filter("unique_id", "Unique id")),
        has_forms=True,
        bulk=("replay",),
    ),
    Listing(
        "/blacklist",
        "/api/blacklist",
        "Blacklist",
        "Accounts, names and e-mail addresses that must not be debited.",
        (
            Column("id", "Entry", "link"),
            Column("iban_masked", "Account"),
            Column("name", "Name"),
            Column("email", "E-mail"),
            Column("reason_code", "Reason"),
            Column("source", "Source"),
            Column("added_by", "By"),
            Column("created_at", "Added", "time"),
            Column("lifted_at", "Lifted", "time"),
        ),
        (
            Filter("which", "Which"),
            Filter("reason", "Reason code"),
            Filter("source", "Source"),
            Filter("name", "Name"),
            Filter("email", "E-mail"),
        ),
        empty="Nobody is on the blacklist.",
        has_forms=True,
        bulk=("lift",),
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
        (Filter("kind", "Kind"), Filter("status", "State")),
        empty="The books agree.",
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
        empty="Nothing was ordered yet. Filter a list, and choose the action below it.",
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
            Filter("action", "Action"),
            Filter("subject", "What"),
            Filter("subject_id", "Id"),
        ),
        empty="Nobody did anything yet.",
    ),
)
