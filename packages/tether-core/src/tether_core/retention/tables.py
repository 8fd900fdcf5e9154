"""
What happens to the rows of each table in the end.

A table without an end grows without limit, and personal data in it is kept permanently. So each table is listed: its rows are archived or removed by a
periodic task or a query, or go with the row of another table, or stay, with the reason. A test compares the list with the schema.

>>> TABLES["webhook_events"].ends, TABLES["webhook_events"].by
('archived', 'archive_old_rows')
>>> TABLES["billing_attempts"].ends, TABLES["billing_attempts"].by
('stays', '')
"""

from typing import Final, Literal

import msgspec

__all__ = ["TABLES", "Retention"]


class Retention(msgspec.Struct, frozen=True):
    """
    The end of the rows of a table.

    Attributes:
        ends: "archived" or "removed" by something; "with" the rows of another table; or it "stays".
        by: The periodic task, or the query as "file.name"; for "with" the other table; "" for what stays.
        why: The reason, as a sentence.
    """

    ends: Literal["archived", "removed", "with", "stays"]
    by: str
    why: str


def _archived(why: str) -> Retention:
    return Retention("archived", "archive_old_rows", why)


def _removed(by: str, why: str) -> Retention:
    return Retention("removed", by, why)


def _with(table: str, why: str = "It is a part of that row.") -> Retention:
    return Retention("with", table, why)


def _stays(why: str) -> Retention:
    return Retention("stays", "", why)


_BOOKS: Final = "The books are kept for ten years; an erasure removes what is personal."
_FEW: Final = "A few rows, which people make."

TABLES: Final[dict[str, Retention]] = {
    "account_pauses": _stays("At most a row for each gateway account."),
    "api_keys": _stays("A few rows, which people make; the audit names them."),
    "archived_listings": _stays("Four rows a day, which the completeness report adds up."),
    "archived_notifications": _stays(
        "A signature never expires, so a repeat must be recognised for as long as its debit is kept."
    ),
    "archives": _stays("A row for 2,000 archived rows; the object goes after its own period."),
    "audit": _stays("Who did what is kept for ten years; it holds no personal data of debtors."),
    "backup_codes": _with("users"),
    "billing_attempt_count_changes": _removed("add_row_counts", "The changes are added to the counts."),
    "billing_attempt_counts": _stays("Counts, far fewer than debits."),
    "billing_attempts": _stays(_BOOKS),
    "billing_run_counts": _stays("A row for each run."),
    "billing_runs": _stays("A row for each order; the books name it."),
    "blacklist": _stays("A blocked account stays blocked; an erasure removes what people wrote about it."),
    "blacklist_disputes": _with("blacklist"),
    "bulk_order_items": _with("bulk_orders"),
    "bulk_orders": _removed("prune_old_orders", "What was ordered is in the audit."),
    "check_file_rows": _with("check_files"),
    "check_files": _removed(
        "prune_check_files", "A result is fetched within days; the accounts are of people who are no debtors."
    ),
    "collection_plans": _stays(_FEW),
    "collection_schedules": _stays("A row for each debtor under a plan; it explains debits."),
    "database_epochs": _stays("A row for each restore."),
    "debtor_edits": _with("debtors"),
    "debtors": _removed(
        "prune_old_debtors",
        "Where they never had a debit; else they explain it, until an erasure removes what is personal.",
    ),
    "deliveries": _removed("prune_deliveries", "The event itself is kept, and can be sent again."),
    "delivery_tries": _with("deliveries"),
    "dry_run_rows": _removed(
        "debtors/staging.forget_dry_run", "A dry run stores no debtors; its rows go when it is over."
    ),
    "due_items": _stays("A row for each due date; it explains a debit."),
    "erasures": _stays("A row for each erasure, without personal data; it is the proof."),
    "excess_deliveries": _with("webhook_events"),
    "figure_changes": _removed("add_figures", "The changes are added to the sums."),
    "figures": _stays("Sums, far fewer than debits."),
    "fingerprint_key": _stays("One row."),
    "fingerprint_rekeying_unmatched": _with(
        "fingerprint_rekeyings", "They stay with it: they name entries that match nobody."
    ),
    "fingerprint_rekeyings": _stays("A row for each change of the key."),
    "forgiven_disputes": _stays("It keeps a forgiven chargeback from excluding the account."),
    "gateway_account_days": _stays("A row for each day and account with a limit."),
    "gateway_accounts": _stays(_FEW),
    "gateway_identities": _stays("A row for each address and login that was ever used; debits name it."),
    "gateway_refunds": _stays(_BOOKS),
    "imported_attempts": _with("billing_attempts"),
    "inquiry_order_attempts": _with("inquiry_orders"),
    "inquiry_orders": _removed("prune_old_orders", "What was ordered is in the audit."),
    "layout_answers": _stays(_FEW),
    "mandates": _stays("The creditor must show the mandate; an erasure removes its reference."),
    "order_keys": _removed("prune_order_keys", "A client repeats a request within hours."),
    "outbox": _archived("A subscriber that was away must still find them."),
    "password_uses": _removed("prune_quarantine", "A report covers 90 days."),
    "pre_notifications": _stays("The proof that a debit was announced; an erasure removes its text."),
    "preflight_reports": _stays(
        "A few rows for each upload, without personal data; they are the proof of what was expected."
    ),
    "problems": _removed("prune_old_uploads", "Somebody corrects a file in half a year or never."),
    "quarantined_notifications": _removed(
        "prune_quarantine", "A wrong password is noticed within days; what is false need not stay."
    ),
    "queue_pauses": _stays("At most a row for each queue."),
    "reconciliation_differences": _stays(_BOOKS),
    "reconciliation_reviews": _stays("A row for each walk."),
    "refunds": _stays(_BOOKS),
    "relays": _stays("A few rows, which people make; notifications name them."),
    "replays": _removed("prune_old_orders", "What was ordered is in the audit."),
    "report_fetches": _stays("Three rows a day and account; the completeness report reads them."),
    "retention_positions": _stays("A row for each walk."),
    "return_policies": _stays("A few rows, which people make; decisions name them."),
    "return_policy_dry_runs": _stays("A few rows, without personal data; a switch names what was looked at."),
    "return_policy_switches": _stays("A row for each switch; it says by which version was decided when."),
    "row_count_changes": _removed("add_row_counts", "The changes are added to the counts."),
    "row_counts": _stays("A few counts."),
    "run_void_debits": _with("run_voids"),
    "run_voids": _stays(_BOOKS),
    "schema_migrations": _stays("A row for each migration."),
    "sessions": _removed("sessions.prune", "A session lasts for hours."),
    "sign_in_failures": _removed("people/failures.prune", "They count for a day."),
    "stated_outcomes": _stays(_BOOKS),
    "statement_texts": _stays("A row for each month and account."),
    "subscribers": _stays(_FEW),
    "supervisors": _removed("workers.supervisors_prune", "A supervisor that ended is of no interest."),
    "ticks": _removed("jobs/periodic.prune", "A tick is done once."),
    "trace_parents": _removed(
        "prune_traces",
        "A run that is capped by the day is submitted over days; collectors keep traces for about as long.",
    ),
    "uploads": _stays("A row with counts for each file; the file and its first rows go after their period."),
    "users": _stays(_FEW),
    "vop_banks": _stays("A row for each bank."),
    "vop_checks": _with("debtors"),
    "vop_uses": _stays("A row for each gateway account and day."),
    "webhook_events": _archived("The gateway reports and repeats for weeks; what waits for a person stays."),
    "worker_restarts": _stays(_FEW),
    "workers": _removed("workers.prune", "A worker that ended is of no interest."),
}
