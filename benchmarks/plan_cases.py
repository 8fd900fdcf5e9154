"""
Cases for every named query: the parameters it is explained with, and what it may read.

A query is listed in `_PLAIN` where the values below, by the names of parameters, are enough; in `VARIANTS` where it takes others, or may
read more than the usual; in `EXEMPT` with the reason where it has no plan or may read whole tables. A query in none of them fails
the test.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tether_stores.queries import load

from benchmarks.plan_check import Case

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXEMPT", "KNOWN", "QUERIES", "VARIANTS", "cases", "unlisted"]


def _all_queries() -> dict[str, str]:
    folder = Path(str(resources.files("tether_stores")))
    files = sorted(
        path.relative_to(folder).as_posix().removesuffix(".sql")
        for path in folder.rglob("*.sql")
        if "sql" not in path.relative_to(folder).parts[:-1]
    )
    return {f"{file}.{name}": query for file in files for name, query in load(file).items()}


QUERIES: Final[Mapping[str, str]] = _all_queries()

_MANY: Final = 100
_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SPREAD: Final = list(range(1, 101))
_NO_FILTER: Final = dict.fromkeys(
    (
        "unique_id",
        "transaction_id",
        "debtor_id",
        "run_id",
        "upload_id",
        "reason_code",
        "state",
        "account",
        "before",
        "before_at",
        "amount_min_minor",
        "amount_max_minor",
        "created_from",
        "created_to",
        "updated_from",
        "updated_to",
        "country",
        "bank",
    )
)
_AUDIT: Final = {
    "before_id": None,
    "actor": None,
    "action": None,
    "subject": None,
    "subject_id": None,
    "from_at": None,
    "to_at": None,
    "examined_max": 2_000,
    "reads_max": 2_500,
}
_CHECKS: Final = {"before": None, "result": None, "state": None, "examined_max": 2_000, "reads_max": 2_500}
_WORDS: Final = {"examined_max": 10_000, "reads_max": 25_000, "buffers_max": 25_000}
_STAGED: Final = ("debtors/staging.guard", "debtors/staging.stage", "plans.staged")


def _md5(word: str) -> Any:
    return hashlib.md5(word.encode(), usedforsecurity=False)


def _ago(days: float) -> Any:
    return lambda _rows: datetime.now(UTC) - timedelta(days=days)


def _day_ago(days: int) -> Any:
    return lambda _rows: datetime.now(UTC).date() - timedelta(days=days)


# Why a query is not explained.
EXEMPT: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "postgres.begin",
            "postgres.backend",
            "postgres.look_ups",
            "postgres.read",
            "notifications/webhook_events.probe",
            "payments/submissions.analyze",
        ),
        "no query: it has no plan",
    ),
    **dict.fromkeys(
        (
            "debtors/staging.stage",
            "debtors/staging.stage_rows",
            "debtors/staging.store",
            "uploads/problems.copy",
        ),
        "no query: it makes a temporary table or copies rows in",
    ),
    **dict.fromkeys(
        (
            "migrate.create",
            "migrate.done",
            "migrate.mark",
            "migrate.drop_invalid",
            "migrate.try_lock",
            "migrate.set_timeouts",
            "migrate.set_timeouts_concurrently",
            "migrate.reset_timeouts",
            "migrate.invalid",
        ),
        "of migrations, which read no table of Tether",
    ),
    **dict.fromkeys(
        ("database_epoch/watch.server", "database_epoch/watch.server_closed"), "asks the server about itself"
    ),
    **dict.fromkeys(
        ("subscribers/subscribers.hold_to_add", "notifications/quarantine.hold"), "a lock without a table"
    ),
    **dict.fromkeys(
        (
            "uploads/charged_back.counts",
            "uploads/charged_back.exclude",
            "uploads/totals.owed",
            "uploads/totals.debits",
        ),
        "by a person, for one upload: it reads the debtors and debits of that upload",
    ),
    **dict.fromkeys(
        ("preflight.groups", "preflight.seen"),
        "once per pre-flight report: it reads the debtors of an upload, and at most 200,000 debits of the account",
    ),
    **dict.fromkeys(
        ("return_policies.lock_to_decide", "return_policies.lock_to_switch", "return_policies.lock_to_add"),
        "a lock without a table",
    ),
    **dict.fromkeys(
        (
            "return_policies.returns_seen",
            "return_policies.accounts_blocked",
            "return_policies.accounts_freed",
            "return_policies.tries_made",
        ),
        "once per dry run of a version, by a person, for at most a minute: it reads the returns of a year by their reason codes",
    ),
    **dict.fromkeys(
        (
            "privileges.role",
            "privileges.unbounded",
            "privileges.is_granted",
            "privileges.make_role",
            "privileges.set_password",
            "privileges.tables",
            "privileges.functions",
            "privileges.revoke",
            "privileges.enter",
            "privileges.grant_on",
        ),
        "of migrations, which read no table of Tether",
    ),
    **dict.fromkeys(
        (
            "secrets_key.accounts",
            "secrets_key.subscribers",
            "secrets_key.second_factors",
            "secrets_key.quarantine",
            "secrets_key.reseal_accounts",
            "secrets_key.reseal_subscribers",
            "secrets_key.reseal_second_factors",
            "secrets_key.reseal_quarantine",
        ),
        "once per change of the key, by command: in turns of a hundred it reads every sealed text, which are few",
    ),
    "fingerprint_key.restart_dry_runs": "once per rekeying, by command: it reads the uploads, which are few",
    "erasures/rows.erase_problems": "once per erasure, which a person orders: it searches the refused rows of half a year for an account",
    "fingerprint_key.finish": "once per rekeying, by command: it looks up the account of every blacklist entry",
}

# Queries that read more than they should, with what is to be done.
KNOWN: Final[Mapping[str, str]] = {}

# PLAIN BEGIN
_PLAIN: Final = {
    "people/users": """
        all_users by_id by_name hold other_admin change set_password set_second_factor use_step signed_in remove_backup_codes
        add_backup_codes use_backup_code backup_codes_left unbind
    """,
    "people/api_keys": "all_keys by_digest hold by_id revoke mark_used is_taken",
    "people/scopes": """
        of_run of_attempt of_refund of_run_void of_bulk_order of_notification of_upload of_debtor of_collection_plan of_schedule of_due_item of_mandate
    """,
    "people/failures": "held clear prune",
    "payments/billing_attempts": """
        locked_by_ids lock_free busy move by_id states renew reschedule lock_returned any_returned handle_returns exposed planned_retries refunded_and_charged_back left_open
    """,
    "payments/billing_run_counts": """
        add begin share of_upload release
    """,
    "billing/billing_runs": """
        add hold_upload ordered by_id hold share of_plan hold_to_plan of_upload listed live unfinished submittable cancelled_unsent to_plan progress canaries_open returns_of_upload returns_of_account open_attempts upload_state unreleased_amount
    """,
    "billing/candidates": """
        elsewhere with_mandates other_items billed_items
    """,
    "blacklist": """
        add disputes_of link link_imported expire lifted_among lift widen remaining by_id active_entry names_any names_among names_listed
        banks_listed banks_judged
    """,
    "clock": """
        now
    """,
    "return_policies": "active listed next_version switches",
    "preflight": "upload by_id",
    "uploads/totals": "runs",
    "statement_texts": "listed",
    "check_files": "listed by_id rows report remove prune due claim checked deferred",
    "reconciliation/completeness": """
        contradicted
    """,
    "database_epoch/watch": """
        newest history tokens hold hold_alone pulse end_current durability
    """,
    "database_epoch/lost_history": """
        to_review reviewed inquire_attempts_anew inquire_orders_anew bounds made_again latest_tries lists_to_want lists_wanted current
    """,
    "debtors/debtors": "by_id excluded",
    "debtors/staging": "guard forget_dry_run",
    "debtors/verdicts": "exclude",
    "debtor_edits": """
        upload hold is_erased version payments listed
    """,
    "data_subjects": "chosen of_accounts",
    "debtor_history": "subject debits belongings",
    "dossier/dossier": """
        accounts checks mandates schedules due_items pre_notifications payments notifications archives forgiven inquiries entries
    """,
    "erasures/orders": "debits still_open amounts all_erased by_id open_of latest_of listed",
    "erasures/rows": """
        open hold list_entry erased finished refused listed_keys stored_at_these_times hold_uploads hold_debtors former_accounts erase_debtors
        erase_edits erase_previews erase_checks erase_check_file_rows erase_dry_run_rows erase_mandates erase_pre_notifications withdraw_pre_notifications erase_refunds
        erase_notes erase_statements erase_forgiveness erase_acknowledgements erase_inquiry_orders erase_quarantined gateway_ids bodies write_bodies files archives_of
        replace_archive former_objects former_deleted late_debtors
    """,
    "notifications/excess_deliveries": """
        representing count take_unannounced counts of
    """,
    "fingerprint_key": """
        recorded share hold record replace is_unused samples open supersede begin debtors_after former_accounts rekey_former_accounts lock_attempts rekey_debtors rekey_attempts entries_of merge_entry end_merged advance unmatched rekeyings
    """,
    "accounts/account_pauses": "pauses",
    "accounts/gateway_accounts": """
        enable rows
    """,
    "accounts/gateway_identities": """
        recent unresolved counts wake_debits wake_refunds
    """,
    "reconciliation/gateway_refunds": """
        claim not_found defer of_attempt holding own_ids
    """,
    "refunds/refunds": """
        hold_debit of_attempt submittable lock_debits ready_ids expired_ids named locked numbers renew reschedule counts
    """,
    "holds": """
        refunds_held accounts_held
    """,
    "inquiry_orders": """
        left_some submitted by_id listed give_up inquiry_due lease_for_inquiry renew reschedule
    """,
    "recurring/collection_plans": "by_id hold share lock listed active counts groups waiting people",
    "recurring/mandates": """
        active_by_key any_ended ended_of any_one_off one_off_of by_id hold of_debtor listed listed_of_debtor order unorder use of_attempts
        lock_active
    """,
    "recurring/schedules": """
        candidates lock_due for_notice advance by_id hold listed of_debtors of_mandates of_plan completed
    """,
    "recurring/due_items": """
        groups lock_waiting waiting_of ordered_on unreleased_on order postpone skip miss unorder waive recover recoverable by_id hold of_schedule open_of listed of_claim
        amounts set_requests series pay_days
    """,
    "recurring/pre_notifications": """
        claim batches of_batch give collect_from withdraw listed of_debtor given_on withdraw_of_upload
    """,
    "mandate_conflicts": """
        guard uses uses_dry_run
    """,
    "bulk_orders": """
        by_id listed any_working take advance stop items progress lock_debits lock_notifications lock_entries lock_uploads
        lock_schedules lock_due_items lock_deliveries debits notifications entries schedules due_items deliveries
    """,
    "figures": """
        begin add_changes earlier_uploads
    """,
    "queues": """
        pauses retry_parked retry_notifications retry_uploads retry_report_fetches retry_checks
    """,
    "store_status": """
        postgres
    """,
    "workers": """
        live supervisors_live last_restart
    """,
    "sessions": """
        find mark_used remove remove_of_user remove_of_api_key prune
    """,
    "order_keys": """
        lock find add prune
    """,
    "retention/archives": """
        abandon to_prune writers pruned archived_to removed by_id
    """,
    "retention/pruning": """
        old_files file_removed old_problems problems_removed advance
    """,
    "events": """
        tip
    """,
    "uploads/problems": """
        count of_rows of_row
    """,
    "reconciliation/report_fetches": """
        claim advance finish deferred due of_days
    """,
    "reconciliation/differences": """
        unresolved resolve open_lines counts of_run by_id hold acknowledge holding returns facts changed_at refunds_named last_id next_ids beyond_inquiries unreachable disputes_reported runs_over warn_run open_by_kind
    """,
    "row_counts": """
        begin add_attempts add_words
    """,
    "refunds/run_voids": """
        add working by_id of_run any_working take debits hold_debits
    """,
    "payments/submissions": """
        lock_accounts locked expired unsent unschedule_ended due_again begin_day hold_day count_day lease_count
    """,
    "stated_outcomes": """
        latest latest_of_refunds named of_attempt
    """,
    "jobs/periodic": """
        take prune
    """,
    "uploads/uploads": """
        record same counted decide answer by_id first_at preview
    """,
    "uploads/turns": """
        turn due_one take
    """,
    "uploads/layout_answers": """
        remember remembered listed forget
    """,
    "vop": """
        claim checked deferred due scores forget request_one reusable resting of_debtor
    """,
    "notifications/webhook_events": """
        owners stored archived conflicts_stored reported_again guard unguard claim wake_matched wake_known due oldest_due_s replay
    """,
    "notifications/confirmations": """
        claim renew store defer any_due
    """,
    "notifications/event_lists": """
        by_id confirmation of_ids
    """,
    "notifications/relays": "live listed revoke",
    "notifications/quarantine": "debits stored quotas of_debits repeat page take listed counts prune",
    "notifications/password_uses": "since prune",
    "notifications/report_records": """
        stored_rows add mark_listed
    """,
    "uploads/withdrawals": """
        hold runs forget_rows by_id
    """,
}
# PLAIN END

_BILLED: Final[dict[str, Any]] = {"upload_id": lambda rows: rows // 1_000}
_ONCE_PER_UPLOAD: Final = (
    "debtors/verdicts.shared_accounts",
    "debtors/verdicts.question_groups",
    "debtors/verdicts.shared_accounts_dry_run",
    "debtors/verdicts.question_groups_dry_run",
    "debtors/verdicts.take",
    "vop.request",
    "vop.request_again",
    "vop.counts",
    "vop.report",
    "uploads/withdrawals.submissions",
    "uploads/withdrawals.forget_checks",
)
_ATTEMPT_LISTS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "newest": {"all": {}, "nothing fits": {"amount_min_minor": 10**9}},
    "by_unique_id": {"": {"unique_id": _md5("unique 500").hexdigest()}},
    "by_transaction_id": {"": {"transaction_id": "none"}},
    "by_debtor": {"": {"debtor_id": 5}},
    "by_run": {
        "the run under way": {"run_id": lambda rows: rows // 1_000},
        "nothing fits": {"run_id": lambda rows: rows // 1_000, "reason_code": "none"},
    },
    "by_upload": {
        "the upload that is billed": _BILLED,
        "nothing fits": _BILLED | {"reason_code": "none"},
    },
    "by_reason_code": {
        "frequent": {"reason_code": "AM04"},
        "no such reason": {"reason_code": "none"},
    },
    "by_state": {
        "frequent": {"state": "approved"},
        "rare": {"state": "unknown"},
        "no such state": {"state": "none"},
        "further on": {"state": "voided", "before": lambda rows: rows // 2},
    },
    "by_account": {"": {"account": "default"}, "rare": {"account": "none"}},
    "by_created": {
        "a day": {"created_from": _ago(30), "created_to": _ago(29)},
        "nothing fits": {"created_from": _ago(300), "state": "none"},
    },
}

_FIGURE_FILTERS: Final = (
    *(
        "cohort_from",
        "cohort_to",
        "cash_from",
        "cash_to",
        "account",
        "currency",
        "country",
        "bank",
        "price_band",
    ),
    *("run_id", "upload_id"),
)
_FIGURES: Final[dict[str, dict[str, Any]]] = {
    "by bank, of a month": {
        "by": "bank",
        "basis": "cohort",
        "cohort_from": _day_ago(40),
        "cohort_to": _day_ago(10),
    },
    "by day, of a month of cash": {
        "by": "day",
        "basis": "cash",
        "cash_from": _day_ago(40),
        "cash_to": _day_ago(10),
    },
    "by reason, of an upload": {"by": "reason_code", "basis": "cohort", "upload_id": 5},
    "in all, of a run": {"by": "total", "basis": "cohort", "run_id": 5},
    "by upload, of a bank in a month": {
        "by": "upload",
        "basis": "cohort",
        "cohort_from": _day_ago(40),
        "cohort_to": _day_ago(10),
        "bank": "BANK7",
    },
}

_PROCESS: Final[dict[str, Any]] = {
    **dict.fromkeys(("id", "host", "version", "pool", "supervisor_id"), "x"),
    **dict.fromkeys(("pid", "memory_bytes"), 1),
    **dict.fromkeys(("pools", "activity"), "{}"),
    "queues": ["vop"],
    "state": "running",
}
# Lists examine up to 20,000 rows of a filter for one page.
_EXAMINED: Final[dict[str, Any]] = {"reads_max": 45_000, "buffers_max": 50_000}
_CHARGEBACKS: Final[dict[str, dict[str, Any]]] = {
    "newest": {},
    "of_code": {"reason_code": "AC04"},
    "without_code": {"reads_max": 1_000},
    "of_upload": _BILLED,
}

_OLD: Final[dict[str, Any]] = {"before": _ago(1), "after": 0, "to": 2_000, "kind": "notifications"}
_ARCHIVES: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "begin": {"": {"kind": "notifications", "stale_at": _ago(1)}},
    "examined_notifications": {"": _OLD | {"limit": 2_000, "reads_max": 2_100}},
    "due_notifications": {"": _OLD | {"bytes_max": 1 << 23, "reads_max": 6_000}},
    "due_events": {"": _OLD | {"limit": 2_000, "review": "changed debits", "reads_max": 9_000}},
    "confirm": {"": {"from_at": _ago(2), "to_at": _ago(1), "first_id": 1, "last_id": 9}},
    "keep_keys": {
        "": {
            "ids": list(range(1, 2_001)),
            "versions": ["0"] * 2_000,
            "reads_max": 4_100,
            "buffers_max": 25_000,
        }
    },
    "prune_notifications": {"": _OLD | {"limit": 200, "reads_max": 3_000}},
    "left_notifications": {"": {"first_id": 1, "last_id": 2_000, "reads_max": 2_100}},
    "prune_events": {"": _OLD | {"limit": 200}},
    "left_events": {"": {"first_id": 1, "last_id": 2_000}},
    "to_remove": {"": _OLD | {"limit": 100}},
    "listed": {"": {"kind": None, "before": None, "limit": 100}},
    "unconfirmed": {"": {"kind": None}},
    "holding": {"": {"kind": "notifications", "row_id": 7}},
    "restore_notification": {
        "": {"row": '{"id":1,"key":"\\\\x00","content":"\\\\x00","account":"default","kind":"payment"}'}
    },
}
_PRUNING: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "prune_problems": {"": {"upload_id": 5, "limit": 1_000}},
    "position": {"": {"name": "debtors"}},
    "begin_position": {"": {"name": "debtors"}},
    "examined_debtors": {"": _OLD | {"limit": 500}},
    "prune_debtors": {"": _OLD | {"to": 500, "reads_max": 3_000}},
    **{
        name: {"": {"before": _ago(1), "limit": 1_000, "reads_max": 5_000}}
        for name in (
            "prune_bulk_items",
            "prune_bulk_orders",
            "prune_inquired",
            "prune_inquiry_orders",
            "prune_replays",
        )
    },
}

_SUBSCRIBER: Final[dict[str, Any]] = {
    "subscriber_id": 1,
    "waiting_max": 1_000,
    "name": "books",
    "url": "https://books.example/",
    "types": ["iban.blocked"],
    "accounts": ["default"],
    "state": "waiting",
    "disabled_reason": None,
    "sealed": b"",
    "old_secret_until": None,
    "position": 1,
    "created_by": "x",
    "up_to": lambda rows: rows // 2,
    "after": 0,
    "event_ids": _SPREAD,
    "event_names": ["iban.blocked"] * 100,
    "order_keys": [None] * 100,
    "attempt_ids": _SPREAD,
    "webhook_event_ids": _SPREAD,
    "leased_until": _ago(0),
    "delivery_id": 1,
    "tries": 1,
    "due_at": _ago(0),
    "http_status": 204,
    "error": None,
    "failures": 1,
    "ended_at": None,
    "number": 1,
    "tried_at": _ago(0),
    "took_ms": 1,
    "before": 1,
    "event_id": 5,
    "ordered_by": "x",
    "reason": "x",
    "replay_id": 1,
    "count": 1,
    "finished_at": _ago(0),
    "limit": 500,
}
_SUBSCRIBERS: Final[dict[str, dict[str, Any]]] = {
    "subscribers": dict.fromkeys(
        """
        all_subscribers by_id hold count add put_secrets sealed change with_work hold_position advance succeeded failed delivered
        """.split(),
        _SUBSCRIBER,
    )
    | {"put_state": _SUBSCRIBER | {"state": "active"}},
    "deliveries": dict.fromkeys(
        """
        waiting_count reopen accounts_of due claim put add_try bring_forward send_now drop_waiting listed of_event by_id tries
        """.split(),
        _SUBSCRIBER,
    )
    | {"add": _SUBSCRIBER | {"accounts": ["default"] * 100}, "prune": _SUBSCRIBER | {"before": _ago(30)}},
    "replays": dict.fromkeys("add hold_open advance of_subscriber first_from newest".split(), _SUBSCRIBER),
}

# By query, by the word for the variant: parameters that differ; "reads_max" and "buffers_max" where more may be read.
VARIANTS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "accounts/gateway_identities.open_calls": {
        "all configured": {
            "keys": ["0123456789abcdef"],
            "accounts": ["default", "second"],
            "count_max": 10_000,
        },
        "none configured": {"keys": [], "accounts": [], "count_max": 10_000, "reads_max": 25_000},
    },
    "accounts/gateway_identities.open_by_account": {
        "": {"accounts": ["default", "second"], "count_max": 10_000, "reads_max": 25_000}
    },
    **{
        f"accounts/account_pauses.{name}": {"": {"account": "second", "paused_by": "x", "reason": "x"}}
        for name in ("share", "hold", "is_paused", "pause", "resume")
    },
    "blacklist.lock_disputed": {"entry": {"account": False}, "account": {"account": True}},
    "blacklist.forgive": {"entry": {"account": False}, "account": {"account": True}},
    "database_epoch/watch.begin": {"": {"reason": "other system"}},
    "database_epoch/lost_history.unfinished_attempts": {
        "": {"after": 0, "to": 10_000, "reads_max": 25_000},
        "of the upload that is billed": {
            "after": lambda rows: rows * 6 // 10,
            "to": lambda rows: rows * 6 // 10 + 10_000,
            "reads_max": 25_000,
        },
    },
    "database_epoch/lost_history.unfinished_orders": {"": {"after": 0, "to": 10_000, "reads_max": 25_000}},
    "debtors/verdicts.exclude_dry_run_rows": {"": {"rows": _SPREAD}},
    "debtors/staging.store_dry_run_rows": {
        "a chunk": {"setup": _STAGED, "rows": _SPREAD, "verdicts": ["clear"] * 100}
    },
    "fingerprint_key.rekey_entries": {"": {"ids": [2 + 50 * n for n in range(100)]}},
    "accounts/gateway_accounts.is_owner": {"": {"name": "third", "former": "second"}},
    "accounts/gateway_accounts.put": {"": {"name": "third", "characters": "sepa"}},
    "reconciliation/gateway_refunds.resolve": {"": {"kind": "refund", "state": "approved"}},
    "refunds/refunds.add": {"": {"kind": "refund", "number": 7}},
    "refunds/refunds.write": {
        "": {
            "submission_count": [1] * 100,
            "ids": [1 + 10 * n for n in range(1, 101)],
            "unique_ids": [None] * 100,
        }
    },
    "reconciliation/differences.begin_position": {"": {"name": "other"}},
    "reconciliation/differences.hold_position": {"": {"name": "outbox"}},
    "reconciliation/differences.advance": {"": {"name": "outbox"}},
    "payments/submissions.write": {"": {"submission_count": [1] * 100}},
    **{
        f"uploads/{name}": {"": {"lease": "worker", "id": 5, "state": "completed", "took_s": 1.0}}
        for name in (
            "turns.hold",
            "turns.release",
            "uploads.planned",
            "uploads.recount",
            "uploads.screened",
            "uploads.end",
        )
    },
    "uploads/problems.warn": {"": {"rows": _SPREAD}},
    "uploads/uploads.count_warnings": {"": {"lease": "worker", "id": 5}},
    "uploads/turns.waiting": {"": {"each": 20}},
    "uploads/turns.due": {
        "any": {"left_max_bytes": None, "read_max_s": None},
        "short": {"left_max_bytes": 262_144, "read_max_s": 3.0},
    },
    "uploads/uploads.advance": {"": {"lease": "worker", "id": 5, "position": "{}"}},
    "notifications/webhook_events.record": {
        "known": {"source": "webhook"},
        "new": {
            "source": "webhook",
            "keys": [_md5(f"new {n}").digest() for n in range(100)],
            "notification_ids": [f"new {n}" for n in range(100)],
        },
    },
    "uploads/withdrawals.withdraw": {"": {"state": "withdrawn"}},
    **{
        f"subscribers/{file}.{name}": {"": parameters}
        for file, queries in _SUBSCRIBERS.items()
        for name, parameters in queries.items()
    },
    **{f"retention/archives.{name}": parameters for name, parameters in _ARCHIVES.items()},
    **{f"retention/pruning.{name}": parameters for name, parameters in _PRUNING.items()},
    **{
        f"queues.{name}": {"": {"queue": "vop", "paused_by": "x", "reason": "x"}}
        for name in ("pause", "resume")
    },
    "erasures/orders.add": {
        "": {"reason": "x", "ordered_by": "x", "accepts_reversible": False, "object_key": None}
    },
    "data_subjects.of_name": {"": {"name": "Nobody Inparticular", "limit": 200}},
    "workers.order_restart": {"": {"ordered_by": "x", "reason": "x"}},
    **{f"workers.{name}": {"": _PROCESS} for name in ("seen", "supervisor_seen", "supervisor_ended")},
    "workers.ended": {"": {"ids": ["x"]}},
    **{f"workers.{name}": {"": {"before": _LONG_AGO}} for name in ("prune", "supervisors_prune")},
    "people/users.add": {"": {"name": "x", "role": "viewer", "is_temporary": True}},
    "people/api_keys.add": {
        "": {"name": "x", "key_digest": bytes(32), "role": "viewer", "owner": "x", "created_by": "x"}
    },
    "people/users.by_subject": {"": {"issuer": "https://login.example", "subject": "x"}},
    "people/users.bind": {"": {"issuer": "https://login.example", "subject": "x"}},
    **{
        f"people/failures.{name}": {"": {"counters": ["address"], "digests": [bytes(32)]}}
        for name in ("count", "forgive")
    },
    "sessions.add": {"": {"token_digest": bytes(32), "holder": "x", "second_factor": False}},
    # Counts what is due, by the indexes that the work is claimed by.
    "queues.backlogs": {
        "": {"rows_max": 1_000, "queues": ["vop"], "reads_max": 60_000, "buffers_max": 40_000}
    },
    # Once per upload, when all its rows are read or when a person requests it: as many rows are read as it has. (The upload
    # here has a thousand.)
    **{
        query: {"of an upload": {"upload_id": 5, "reads_max": 50_000, "buffers_max": 25_000}}
        for query in _ONCE_PER_UPLOAD
    },
    # A figure adds up all sums of its period; a million debits of 400 days have some 200,000.
    "bulk_orders.add": {"": {"action": "void", "filters": "{}", "actor_kind": "user"}},
    "bulk_orders.add_items": {
        "": {"id": 5, "subject_ids": [10**9 + n for n in range(100)], "refuseds": ["x"] * 100}
    },
    "figures.sums": {
        word: dict.fromkeys(_FIGURE_FILTERS)
        | filters
        | {"limit": 1_200, "reads_max": 60_000, "buffers_max": 60_000}
        for word, filters in _FIGURES.items()
    },
    # The newest rows of two tables.
    "monitoring.runs": {"": {"newest": 1_000}},
    "monitoring.uploads": {"": {"newest": 1_000}},
    "monitoring.reports": {"": {"since_on": _day_ago(6)}},
    "monitoring.awaiting_release": {"": {"newest": 1_000}},
    "monitoring.subscribers": {"": {}},
    "monitoring.late": {"": {"today": _LONG_AGO.date(), "newest": 1_000}},
    "monitoring.archives": {"": {}},
    "traces/parents.remember": {"": {"subject": "billing_run", "ids": [5], "traceparent": "00"}},
    "traces/parents.remember_notifications": {"": {"keys": [b"k"], "traceparents": ["00"]}},
    "traces/parents.found": {"": {"subject": "billing_run", "ids": [5]}},
    "traces/parents.prune": {"": {"before": _LONG_AGO, "limit": 1_000}},
    "figures.open_money": {
        "the last weeks": {"since_on": _day_ago(40), "upload_id": None, "account": None, "reads_max": 60_000},
        "an upload": {"since_on": _day_ago(40), "account": None, "reads_max": 60_000},
    },
    "figures.moved": {"six uploads": {"upload_ids": [5, 6, 7, 8, 9, 10], "reads_max": 10_000}},
    "refunds/run_voids.advance": {"": {"id": 5, "finished": True}},
    "refunds/run_voids.progress": {"of a run": {"id": 5, "reads_max": 10_000}},
    "refunds/run_voids.judged": {
        "": {
            "refund_ids": [None] * 100,
            "attempt_ids": [10**9 + n for n in range(100)],
            "refuseds": ["held"] * 100,
        }
    },
    "refunds/run_voids.listed": {"all": {"id": 5}, "refused": {"id": 5, "refused_only": True}},
    # Counts what is unfinished, by indexes that hold nothing else.
    "notifications/event_lists.unfinished": {"": {"reads_max": 10_000}},
    "notifications/event_lists.counts": {"": {"reads_max": 10_000}},
    # Days are asked for, and each is read; of a day, the fill has 1,250 of 500,000 listed events.
    "reconciliation/completeness.lines": {"a week": {"reads_max": 15_000}},
    "reconciliation/completeness.delays": {"a week": {"reads_max": 15_000}},
    # Of the newest %(examined_max)s attempts that fit the leading filter, a page of those that fit all.
    **{
        f"payments/attempt_lists.{name}": {
            word: _NO_FILTER | filters | {"reads_max": 45_000, "buffers_max": 50_000}
            for word, filters in variants.items()
        }
        for name, variants in _ATTEMPT_LISTS.items()
    },
    **{
        f"payments/forgiven_disputes.{name}": {"": {"dispute_stage": 1}}
        for name in ("hold", "forgive", "remaining")
    },
    "inquiry_orders.add": {"": {"scope": "run", "subject_id": 5, "ordered_by": "x", "reason": "x"}},
    "inquiry_orders.add_attempts": {"": {"id": 1, "expires_at": _LONG_AGO}},
    "inquiry_orders.of_attempt": {"": {"subject_id": 5}},
    "inquiry_orders.of_run": {"": {"subject_id": 5, "states": ["pending", "unknown"]}},
    "inquiry_orders.of_upload": {"": _BILLED | {"subject_id": 5, "states": ["pending", "unknown"]}},
    # The sums of returned money, from an index that holds nothing else.
    "payments/chargebacks.by_code": {"": {"account": None, "reads_max": 100_000, "buffers_max": 5_000}},
    "payments/chargebacks.by_code_of_upload": {
        "": _BILLED | {"account": None, "reads_max": 50_000, "buffers_max": 50_000}
    },
    **{
        f"payments/chargebacks.{name}": {
            "": _EXAMINED | filters,
            "of no such account": _EXAMINED | filters | {"account": "none"},
        }
        for name, filters in _CHARGEBACKS.items()
    },
    "payments/billing_attempts.lease_for_inquiry": {
        "in progress": {"payment_stages": [20]},
        "unknown to the gateway": {"payment_stages": [30]},
        "unknown": {"payment_stages": [10]},
    },
    "payments/billing_attempts.inquiry_due": {
        "in progress": {"payment_stages": [20]},
        "nothing in progress is due": {"payment_stages": [20], "silent_since": _LONG_AGO, "now": _LONG_AGO},
        "unknown": {"payment_stages": [10]},
        "nothing unknown is due": {"payment_stages": [10], "silent_since": _LONG_AGO, "now": _LONG_AGO},
    },
    "billing/billing_runs.change": {"": {"skipped": b"{}", "state": "finished", "finished_at": _LONG_AGO}},
    "billing/candidates.owing": {
        "the first of an upload": {"ids": None, "after": 0},
        "the next of an upload": {"ids": None, "after": lambda rows: rows * 8 // 10},
        "debtors by id": {"upload_id": None},
    },
    "blacklist.listed": {
        "all": {"reads_max": 4_000, "fingerprint": None},
        "active": {"reads_max": 4_000, "fingerprint": None, "live": True},
        "ended": {"reads_max": 4_000, "fingerprint": None, "live": False},
        "action": {"reads_max": 4_000, "fingerprint": None, "action": "hold"},
        "rare source": {"reads_max": 4_000, "fingerprint": None, "source": "import"},
        "frequent source": {"reads_max": 4_000, "fingerprint": None, "source": "chargeback"},
        "reason": {"reads_max": 4_000, "fingerprint": None, "reason_code": "AC04"},
        "no such reason": {"reads_max": 4_000, "fingerprint": None, "reason_code": "none"},
        "action and no such reason": {
            "reads_max": 4_000,
            "fingerprint": None,
            "action": "block",
            "reason_code": "none",
        },
        "account": {},
        "name": {"reads_max": 4_000, "fingerprint": None, "name_key": "name 50"},
        "email": {"reads_max": 4_000, "fingerprint": None, "email": "p1@example.org"},
        "bank": {"reads_max": 4_000, "fingerprint": None, "bic": "COBADEFF"},
        "action, source and no such reason": {
            "reads_max": 4_000,
            "fingerprint": None,
            "action": "hold",
            "source": "manual",
            "reason_code": "none",
        },
        "ended, of a source": {"reads_max": 4_000, "fingerprint": None, "live": False, "source": "import"},
    },
    "debtors/staging.screen": {"a chunk": {"setup": _STAGED, "reads_max": 5_000}},
    "debtors/staging.related": {"a chunk": {"setup": _STAGED, "reads_max": 8_000, "buffers_max": 25_000}},
    "debtor_edits.change": {
        "": {
            "amount_minor": 1250,
            "iban": "DE89370400440532013000",
            "iban_fingerprint": _md5("edited").digest(),
            "name": "Anna Schmidt",
            "verdict": "clear",
        }
    },
    "debtor_edits.add": {
        "": {
            "version": 2,
            "reason": "x",
            "verdict_before": "clear",
            "verdict_after": "clear",
            "edited_by": "x",
        }
    },
    "debtors/staging.names_staged": {"a chunk": {"setup": _STAGED}},
    "debtors/debtors.listed": {
        "all": {},
        "an upload": {"upload_id": 5},
        "the largest upload, rare verdict": _BILLED | {"verdict": "identity_unclear"},
        "frequent verdict": {"upload_id": None, "verdict": "clear"},
        "verdict": {"upload_id": None, "verdict": "blacklisted"},
        "no such verdict": {"upload_id": None, "verdict": "duplicate_in_file"},
        "reference": {"upload_id": None, "reference": "INV-77"},
        "no such reference": {"upload_id": None, "reference": "none"},
        "reference in the largest upload": _BILLED | {"reference": "none"},
        "iban tail": {"upload_id": None, "iban_tail": "1234"},
        "no such iban tail": {"upload_id": None, "iban_tail": "none"},
        "iban tail in the largest upload": _BILLED | {"iban_tail": "none"},
    },
    "debtors/debtors.listed_by_words": {
        "frequent name": {"upload_id": None, "name": "'anna':*", **_WORDS},
        "rare name": {"upload_id": None, "name": "'0a1b':*", **_WORDS},
        "two frequent names that never meet": {"upload_id": None, "name": "'anna':* & 'anna2':*", **_WORDS},
        "name in the largest upload": _BILLED | {"name": "'schmidt':*"} | _WORDS,
        "rare name in the largest upload": _BILLED | {"name": "'0a1b2':*"} | _WORDS,
        "with another filter": {"upload_id": None, "name": "'anna':*", "reference": "none", **_WORDS},
    },
    "debtors/debtors.listed_by_number": {
        "by row": {"upload_id": 5},
        "by amount": {"upload_id": 5, "sort": "amount", "descending": True},
    },
    "debtors/debtors.listed_by_name": {"": {"upload_id": 5}},
    "refunds/refunds.listed": {
        "all": {"account": None},
        "frequent state": {"account": None, "state": "approved"},
        "rare state": {"account": None, "state": "unknown"},
        "no such state": {"account": None, "state": "voided"},
        "account": {"account": "second"},
        "no such account": {"account": "none"},
        "account in a rare state": {"account": "second", "state": "unknown"},
    },
    "reconciliation/gateway_refunds.report": {"": {"kinds": ["refund"] * 100}},
    "refunds/refunds.lease_for_inquiry": {"": {"payment_stages": [20]}, "unknown": {"payment_stages": [10]}},
    "refunds/refunds.inquiry_due": {
        "": {"payment_stages": [20]},
        "nothing is due": {"payment_stages": [20], "silent_since": _LONG_AGO, "now": _LONG_AGO},
    },
    "events.between": {
        "all": {"after": lambda rows: rows - 200},
        # `outbox.between` continues from there: 10,000 events a statement.
        "rare name": {"after": 0, "up_to": 10_000, "names": ["upload.completed"], "reads_max": 10_000},
        "no such name": {
            "after": lambda rows: rows // 2,
            "up_to": lambda rows: rows // 2 + 10_000,
            "names": ["none"],
            "reads_max": 10_000,
        },
    },
    "events.append": {"": {"names": ["x"] * 100}},
    "uploads/problems.listed": {
        "all": {},
        "level": {"level": "error"},
        "code": {"code": "iban_checksum"},
        # As many problems of an upload are stored as tether_core.upload_problems allows.
        "no such code": {"upload_id": 5, "code": "none", "after_row": 0},
        "no such level": {"upload_id": 5, "level": "none", "after_row": 0},
    },
    "reconciliation/differences.listed": {
        "all": {"attempt_id": None, "open_only": False},
        "open": {"attempt_id": None, "open_only": True},
        "kind": {"attempt_id": None, "kind": "state_differs"},
        "no such kind": {"attempt_id": None, "kind": "none"},
        "open of no such kind": {"attempt_id": None, "kind": "none", "open_only": True},
        "attempt": {"attempt_id": 10},
    },
    "reconciliation/differences.open": {"": {"kinds": ["state_differs"] * 100}},
    "stated_outcomes.record": {"": {"refund_id": None, "outcome": "declined"}},
    "payments/submissions.ready": {"all": {}, "canaries": {"canaries_only": True}},
    "uploads/uploads.listed": {
        "all": {"filename": None, "account": None},
        "state": {"state": "failed", "filename": None, "account": None},
        "file name": {"filename": "CSV", "account": None},
        "account": {"filename": None, "account": "second"},
        "no such account": {"filename": None, "account": "none"},
    },
    "audit.record": {
        "": {
            "actor_kind": "user",
            "actor": "ada",
            "action": "run.paused",
            "subject": "run",
            "before": "{}",
            "after": "{}",
        }
    },
    "audit.newest": {"all": _AUDIT, "of a subject": _AUDIT | {"subject": "refund"}},
    "audit.by_actor": {
        # One of 20 rows: Postgres reads the newest rows of everybody, which are fewer pages than the index.
        "frequent": _AUDIT | {"actor": "operator 1", "reads_max": 50_000},
        "nobody": _AUDIT | {"actor": "nobody"},
        "and action": _AUDIT | {"actor": "operator 1", "action": "run.voided", "reads_max": 50_000},
    },
    "audit.by_action": {
        "frequent": _AUDIT | {"action": "refund.ordered"},
        "rare": _AUDIT | {"action": "run.voided"},
    },
    "audit.about": {
        "": {
            "subjects": ["attempt"] * _MANY,
            "subject_ids": [str(n) for n in range(100, 100 + _MANY)],
            "limit": 50,
        }
    },
    "audit.by_subject": {"": _AUDIT | {"subject": "attempt", "subject_id": "777"}},
    "vop.calls": {"": {"account": "default", "on": _day_ago(0)}},
    "vop.spend": {"": {"account": "default", "on": _day_ago(0), "count": 1}},
    "vop.spent": {"": {"on": _day_ago(0)}},
    "vop.bank_answers": {
        "": {
            "banks": ["COBADEFF", "DEUTDEFF"],
            "are_answered": [True, False],
            "unanswered": [0, 1],
            "unanswered_max": 20,
            "rest_until": _ago(0),
        }
    },
    "vop.newest": {"": _CHECKS | {"examined_max": 101}},
    "vop.by_state": {
        "frequent": _CHECKS | {"state": "checked", "examined_max": 101},
        "rare": _CHECKS | {"state": "waiting", "examined_max": 101},
        "no such state": _CHECKS | {"state": "parked", "examined_max": 101},
        "further on": _CHECKS
        | {"state": "waiting", "examined_max": 101, "before": lambda rows: rows * 3 // 4},
    },
    "vop.by_result": {
        "frequent": _CHECKS | {"result": "verified", "examined_max": 101},
        "no such result": _CHECKS | {"result": "mismatch", "examined_max": 101},
        "in another state": _CHECKS | {"result": "verified", "state": "waiting"},
    },
    "vop.listed": {
        "all": {"after": 0},
        "no such result": {"upload_id": 5, "after": 0, "result": "rejected"},
        "no such state": {"upload_id": 5, "after": 0, "state": "parked"},
    },
    "notifications/event_lists.listed": {
        "all": {"notification_id": None, "account": None},
        **{
            f"{state} notifications": {"notification_id": None, "account": None, "state": state}
            for state in ("processed", "parked", "waiting", "confirming", "contradicted")
        },
        "parked notifications of an account": {
            "notification_id": None,
            "account": "second",
            "state": "parked",
        },
        "payment": {"account": None},
        "payment and state": {"account": None, "state": "parked"},
        "payment and account": {"account": "second"},
    },
    "payments/billing_run_counts.small": {"": {"before_id": 10**9}},
    "notifications/webhook_events.finish": {
        "": {"ids": list(range(100, 200)), "states": ["processed"] * 100}
    },
    "notifications/webhook_events.record_conflicts": {"": {"conflicts_max": 1_000}},
    "notifications/quarantine.add": {
        "": {
            "digests": [_md5(f"digest {n}").digest() for n in range(100)],
            "sealeds": [b"x"] * 100,
            "sizes_bytes": [1] * 100,
        }
    },
    "notifications/relays.add": {
        "": {"name": "x", "account": "default", "digest": bytes(32), "relays_max": 10}
    },
    "notifications/password_uses.add": {
        "": {"accounts": ["default"] * 100, "tags": [f"{n:08x}" for n in range(100)], "used_on": _day_ago(0)}
    },
    "accounts/gateway_identities.record_configured": {
        "": {"keys": ["0123456789abcdef"], "accounts": ["default"], "names": ["default"]}
    },
    "accounts/gateway_identities.record": {"": {"key": "0123456789abcdef", "name": "default"}},
    "payments/imported_attempts.add": {
        "": {
            "transaction_ids": [f"new-{n}" for n in range(100)],
            "unique_ids": [f"new-{n}" for n in range(100)],
        }
    },
    "payments/imported_attempts.add_debtors": {"": {"names": ["x"] * 100}},
    "blacklist.of_debtor": {
        "": {
            "name_keys": ["ada example", "example ada"],
            "emails": ["ada@example.com"],
            "bics": ["COBADEFF", "COBADE*"],
            "limit": 50,
        },
        "another account": {
            "debtor_id": lambda rows: rows // 4,
            "name_keys": [],
            "emails": [],
            "bics": [],
        },
    },
    "blacklist.enter": {
        "": {
            **dict.fromkeys(("name_keys", "names", "emails", "bics"), [None] * 100),
            "source": "manual",
        }
    },
    "clean_payers.page": {
        "": {
            "after": 1_000,
            "debits_min": 1,
            "account": None,
            "before": _ago(30),
            "reads_max": 20_000,
            "buffers_max": 50_000,
        }
    },
    "check_files.add": {"": {"account": "default", "row_count": 1}},
    "check_files.add_rows": {
        "": {"file_id": 1, "row_numbers": [1], "ibans": ["x"], "names": ["x"], "banks": [None]}
    },
    "statement_texts.put": {"": {"account": "", "month": "2026-12", "text": "x", "written_by": "ops"}},
    "statement_texts.remove": {"": {"account": "", "month": "2026-12"}},
    "preflight.add": {
        "": {"account": "default", "verdict": "go", "content": "{}", "signature": None, "made_by": "ops"}
    },
    "preflight.last_of_upload": {"": {"accounts": None}},
    "preflight.with_content": {"": {"content": "{}"}},
    "return_policies.by_version": {"": {"version": 1}},
    "return_policies.rules_of": {"": {"version": 1}},
    "return_policies.add": {
        "": {"version": 9, "based_on": 0, "rules": "{}", "reason": "x", "created_by": "ops"}
    },
    "return_policies.add_dry_run": {"": {"version": 1, "against": 0, "result": "{}", "made_by": "ops"}},
    "return_policies.last_dry_run": {
        "": {"version": 1, "against": None},
        "against": {"version": 1, "against": 0},
    },
    "return_policies.was_active": {"": {"version": 1}},
    "return_policies.switch": {
        "": {"version": 1, "version_before": 0, "dry_run_id": None, "reason": "x", "switched_by": "ops"}
    },
    "recurring/collection_plans.add": {"": {"name": "new"}},
    "recurring/collection_plans.change": {"": {"id": 3, "state": "paused"}},
    "recurring/mandates.add": {
        "": {
            "references": [f"new-{n}" for n in range(100)],
            "reference_keys": [f"new-{n}" for n in range(100)],
            "kind": "recurrent",
        }
    },
    "recurring/mandates.amend": {"": {"signed_on": _day_ago(0), "iban_masked": "DE**"}},
    "recurring/mandates.change": {"": {"state": "cancelled"}},
    "recurring/schedules.add": {
        "": {
            "collection_plan_id": 3,
            "debtor_ids": [7 + 20 * n for n in range(100)],
            "mandate_ids": [1 + n for n in range(100)],
            "first_due_on": _day_ago(0),
            "make_on": _day_ago(0),
        }
    },
    "recurring/schedules.change": {"": {"state": "ended"}},
    "recurring/due_items.add": {
        "": {
            "schedule_ids": [1 + n for n in range(100)],
            "plan_ids": [3] * 100,
            "upload_ids": [5] * 100,
            "states": ["missed"] * 100,
            "collect_ons": [None] * 100,
        }
    },
    "recurring/pre_notifications.supersede": {
        "": {
            "debtor_ids": list(range(1, 101)),
            "amounts_minor": [1_000] * 100,
            "due_item": "new",
            "due_on": _day_ago(0),
        }
    },
    "recurring/pre_notifications.add": {
        "": {"upload_ids": [5] * 100, "due_item_ids": [None] * 100, "due_items": ["new"] * 100}
    },
    "payments/submissions.add": {
        "": {
            "transaction_ids": [f"new-{n}" for n in range(100)],
            "try_numbers": [9] * 100,
            "account": "default",
        }
    },
    "reconciliation/report_fetches.want": {
        "": {
            "lists": ["transactions"] * 100,
            "days": [datetime(2020, 1, 1, tzinfo=UTC).date() + timedelta(n) for n in range(100)],
        }
    },
    "uploads/uploads.referenced": {"": {"keys": [f"uploads/{n}" for n in range(100)]}},
}

_PARAMETER: Final = re.compile(r"%\((\w+)\)[sb](?:::([a-z]+(?:\[\])?))?")


def unlisted() -> set[str]:
    """Queries without a case, and cases without a query."""
    plain = {f"{file}.{name}" for file, names in _PLAIN.items() for name in names.split()}
    listed = [*plain, *VARIANTS, *EXEMPT]
    return (set(listed) ^ QUERIES.keys()) | {name for name in listed if listed.count(name) > 1}


def cases(*, rows: int, now: datetime) -> list[Case]:
    """All cases, for a database that `plan_database.fill` has filled with that many rows."""
    values = _values(rows, now)
    found = list[Case]()
    for file, names in _PLAIN.items():
        found += [_case(f"{file}.{name}", "", {}, values) for name in names.split()]
    for query, variants in VARIANTS.items():
        found += [_case(query, word, _resolved(variant, rows), values) for word, variant in variants.items()]
    return found


def _resolved(variant: Mapping[str, Any], rows: int) -> dict[str, Any]:
    return {name: value(rows) if callable(value) else value for name, value in variant.items()}


def _case(query: str, word: str, variant: Mapping[str, Any], values: Mapping[str, Any]) -> Case:
    parameters = dict[str, object]()
    setup = variant.get("setup", ())
    for text in (QUERIES[query], *(QUERIES.get(name, "") for name in setup)):
        for name, kind in _PARAMETER.findall(text):
            if name in variant:
                parameters[name] = variant[name]
            elif name in values and (not kind.endswith("[]") or isinstance(values[name], list)):
                parameters.setdefault(name, values[name])
            elif kind in values:
                parameters.setdefault(name, values[kind])
            else:
                parameters.setdefault(name, None)
    bounds = {name: variant[name] for name in ("reads_max", "buffers_max") if name in variant}
    return Case(f"{query} {word}".rstrip(), query, parameters, setup=setup, **bounds)


def _values(rows: int, now: datetime) -> dict[str, Any]:
    spread = [1 + i * (rows // _MANY) for i in range(_MANY)]
    days = now.date()
    last = rows // 1_000
    return {
        # By type, for arrays of what is written.
        "text[]": ["x"] * _MANY,
        "bigint[]": spread,
        "smallint[]": [1] * _MANY,
        "integer[]": spread,
        "boolean[]": [False] * _MANY,
        "timestamptz[]": [now] * _MANY,
        "date[]": [days] * _MANY,
        "jsonb[]": ["{}"] * _MANY,
        "json": "{}",
        # By name.
        "now": now,
        "owner": "x",
        "awaits_release": False,
        "position_at": now,
        "token_digest": _md5("token").digest() * 2,
        "used_after": now - timedelta(hours=12),
        "begun_after": now - timedelta(days=7),
        "idle_before": now - timedelta(hours=12),
        "before_id": None,
        "limit": 100,
        "examined_max": 20_000,
        "since": now - timedelta(days=30),
        "silent_since": now - timedelta(days=9),
        "latest": now + timedelta(days=1),
        "until": now + timedelta(minutes=1),
        "leased_until": now + timedelta(minutes=1),
        "lease": now,
        "today": days,
        "from_on": days - timedelta(days=7),
        "to_on": days,
        "from_at": now - timedelta(days=7),
        "to_at": now,
        "day_on": days - timedelta(days=1),
        "tick_at": now,
        "payment_stages": [60] * _MANY,
        "inquiry_count_max": 10,
        # The upload that is being billed, and its run.
        "upload_id": last,
        "run_id": last,
        "id": rows // 2,
        "ids": spread,
        "attempt_id": rows // 2,
        "debtor_id": rows // 2 // 990 * 990,
        "attempt_ids": spread,
        "debtor_ids": spread,
        "webhook_event_ids": spread,
        "other_attempt_ids": [None] * _MANY,
        "refund_ids": [None] * _MANY,
        "retries_of": [None] * _MANY,
        "unique_id": _md5(f"unique {rows // 2}").hexdigest(),
        "unique_ids": [_md5(f"unique {n}").hexdigest() for n in spread],
        "notification_id": _md5(f"unique {rows // 2}").hexdigest(),
        "notification_ids": [_md5(f"unique {n}").hexdigest() for n in spread],
        "references": [_md5(f"unique {n}").hexdigest() for n in spread],
        "transaction_id": "fill-" + _md5(f"transaction {rows // 2}").hexdigest()[:20],
        "transaction_ids": ["fill-" + _md5(f"transaction {n}").hexdigest()[:20] for n in spread],
        "fingerprint": _md5(f"debtor {rows // 4}").digest(),
        "fingerprints": [_md5(f"debtor {n // 2}").digest() for n in spread],
        "befores": [_md5(f"debtor {n // 2}").digest() for n in spread],
        "keys": [_md5(f"key {n}").digest() for n in spread],
        "contents": [_md5(f"content {n}").digest() for n in spread],
        "bodies": [b"x"] * _MANY,
        "payloads": [b"x"] * _MANY,
        "account": "default",
        "accounts": ["default"] * _MANY,
        "without": [],
        # Of recurring collection.
        "collection_plan_id": 3,
        "schedule_id": rows // 40,
        "schedule_ids": [1 + n for n in range(_MANY)],
        "mandate_ids": [1 + n for n in range(_MANY)],
        "reference_keys": [f"m-{50 * n + 1}" for n in range(_MANY)],
        "collect_on": days,
        "used_on": days,
        "ordered_until_on": days - timedelta(days=14),
        "sequences": ["RCUR"] * _MANY,
        "requests": ["sale"] * _MANY,
        "batch": "batch-1",
        "given_by": "x",
        "is_scheduled": False,
        "due_item": "once",
        "before": None,
        "after": rows // 2,
        "to": rows,
        "up_to": rows,
        "after_id": None,
        "after_number": None,
        "after_name": None,
        "after_row": rows // 4,
        "after_ordinal": 0,
        "state": None,
        "states": ["approved"] * _MANY,
        "dispute_stages": [0] * _MANY,
        "currencies": ["EUR"] * _MANY,
        "currency": "EUR",
        "amount_minor": 100,
        "submit_ats": [None] * _MANY,
        "next_ats": [None] * _MANY,
        "leased_untils": [None] * _MANY,
        "not_submitted_reasons": [None] * _MANY,
        "not_founds": [None] * _MANY,
        "inquiries_began_ats": [None] * _MANY,
        "expires_ats": [None] * _MANY,
        "conflicts_with": spread,
        "retry_ons": [None] * _MANY,
        "retry_whys": ["reason"] * _MANY,
        "policy_version": 1,
        "policy_versions": [1] * _MANY,
        "kinds": ["payment"] * _MANY,
        "kind": None,
        "results": ["verified"] * _MANY,
        "actions": ["block"] * _MANY,
        "scopes": ["iban"] * _MANY,
        "name": None,
        "names": None,
        "name_key": None,
        "name_keys": [f"name {50 * n}" for n in range(_MANY)],
        "email": None,
        "emails": [f"p{50 * n + 1}@example.org" for n in range(_MANY)],
        "bics": ["COBADEFF"] * _MANY,
        "reference": None,
        "iban_tail": None,
        "verdict": None,
        "action": None,
        "source": None,
        "reason_code": None,
        "live": None,
        "level": None,
        "code": None,
        "result": None,
        "open_only": False,
        "sort": "row",
        "descending": False,
        "rules": ["blacklisted"] * _MANY,
        "taken": ["blacklisted"],
        "canaries_only": False,
        "dry_run": False,
        "first": False,
        "overrides": "[]",
        "contradictions": 3,
        "apart_s": 300,
        "again_s": 60,
        "runs_max": 1_000,
        "answered_max": 19,
        "older_than_s": 30,
        "rows_max": 8,
        "conflicts_max": 5,
        "identity_checks_max": 200,
        "amount_lines_max": 10,
        "debtors_to": rows,
        "configured": ["0123456789abcdef"],
        "index": "outbox_pkey",
        "row_number": rows // 4,
        # What is only written.
        **dict.fromkeys(
            (
                "by",
                "reason",
                "created_by",
                "added_by",
                "lifted_by",
                "forgiven_by",
                "ordered_by",
                "withdrawn_by",
                "reason",
            ),
            "x",
        ),
        **dict.fromkeys(
            (
                "number",
                "submission_count",
                "count",
                "planned_to",
                "planned_count",
                "planned_amount_minor",
                "released_share",
                "inquiries",
            ),
            1,
        ),
        **dict.fromkeys(
            ("attempts_reviewed_to", "orders_reviewed_to", "submissions", "pulse", "position", "debtors"), 1
        ),
        **dict.fromkeys(
            ("attempts", "entries", "into", "next_page", "next_terminal", "listed", "held", "unread"), 1
        ),
        **dict.fromkeys(("bytes_read", "size_bytes", "rows", "days_min"), 1),
        # The counts of a chunk agree: uploads_rows_add_up.
        "stored": 1,
        **dict.fromkeys(("excluded", "refused", "skipped", "warnings", "warned"), 0),
        **dict.fromkeys(("again", "enabled", "forced", "waits", "blameless", "override"), False),
        **dict.fromkeys(
            (
                "warning",
                "pause_reason",
                "paused_from",
                "finished_at",
                "failure_code",
                "failure",
                "reviewed_at",
            ),
            None,
        ),
        **dict.fromkeys(("billing_per_s", "reconciliation_per_s", "debit_max_minor"), None),
        **dict.fromkeys(("day_count_max", "day_amount_max_minor", "due_at", "system_id", "timeline"), None),
        **dict.fromkeys(
            ("options", "skipped_counts", "body", "sealed", "check_value", "check_before", "check_after"),
            b"{}",
        ),
        **dict.fromkeys(("request", "layout", "sha256", "content_key"), b"x"),
        **dict.fromkeys(
            ("token", "installation", "started_at", "usage", "wait", "holder", "location", "periodic_task"),
            "1",
        ),
        **dict.fromkeys(
            ("object_key", "filename", "provider", "content_type", "api_url", "subject_word"), "x"
        ),
        "forgives": "entry",
        "key": "key-1",
        "status": 201,
        "list": "transactions",
        "listed_on": days,
        "screened_at": now,
        "if_unused": True,
        "void_id": 5,
        "characters": "sepa",
        "finished": False,
        "refused_only": False,
        "freeze_ms": 1_000,
        "inquire_at": now,
        "subject": "collected_before",
        "answer": "take",
    }
