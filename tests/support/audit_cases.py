"""
A case for every route that changes something: how to call it in the world of `tests/web/test_audit.py`, and what the audit says.

`tests/tidy/test_routes.py` compares the table with the routes of the application.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["CASES", "UNRECORDED", "Call"]

WHY: Final = {"reason": "asked by phone, DE89370400440532013000"}
_FILE: Final = b"Name;IBAN;Betrag\nA B;DE89370400440532013000;12,50\n"


class Call(msgspec.Struct, frozen=True):
    """
    How a route is called.

    Attributes:
        path: With ids of the world.
        action: The action that the audit names.
        subject: The kind of thing and its id, as the audit names them.
        request: Keyword arguments of the HTTP client.
        after: A route that must have been called before, as a key of `CASES`.
    """

    path: str
    action: str
    subject: tuple[str, str | None]
    request: dict[str, Any] = {}
    after: str | None = None


CASES: Final[dict[str, Call]] = {
    "POST /api/uploads": Call(
        "/api/uploads", "upload.received", ("upload", "3"), {"files": {"file": ("may.csv", _FILE)}}
    ),
    "POST /api/uploads/{upload_id:int}/answers": Call(
        "/api/uploads/2/answers", "upload.answered", ("upload", "2"), {"json": {"encoding": "cp1252"}}
    ),
    "DELETE /api/uploads/{upload_id:int}": Call(
        "/api/uploads/2",
        "upload.withdrawn",
        ("upload", "2"),
        {"params": WHY},
        after="POST /api/uploads/{upload_id:int}/answers",
    ),
    "DELETE /api/layout-answers/{answer_id:int}": Call(
        "/api/layout-answers/1", "layout_answer.deleted", ("layout_answer", "1")
    ),
    "POST /api/uploads/{upload_id:int}/billing": Call(
        "/api/uploads/1/billing", "run.ordered", ("run", "3"), {"json": {"due_item": "june"}}
    ),
    "POST /api/uploads/{upload_id:int}/billing/release": Call(
        "/api/uploads/1/billing/release", "refusals.released", ("upload", "1"), {"json": WHY}
    ),
    "POST /api/vop/files": Call(
        "/api/vop/files",
        "check_file.received",
        ("check_file", "1"),
        {"content": b"iban,name\nDE89370400440532013000,Zoe Miller\n"},
    ),
    "DELETE /api/vop/files/{file_id:int}": Call(
        "/api/vop/files/1", "check_file.removed", ("check_file", "1"), after="POST /api/vop/files"
    ),
    "POST /api/uploads/{upload_id:int}/vop": Call("/api/uploads/1/vop", "checks.requested", ("upload", "1")),
    "POST /api/uploads/{upload_id:int}/inquiry": Call(
        "/api/uploads/1/inquiry", "inquiry.ordered", ("upload", "1"), {"json": WHY}
    ),
    "POST /api/billing-runs/{run_id:int}/inquiry": Call(
        "/api/billing-runs/1/inquiry", "inquiry.ordered", ("run", "1"), {"json": WHY}
    ),
    "POST /api/billing-runs/{run_id:int}/pause": Call(
        "/api/billing-runs/1/pause", "run.paused", ("run", "1"), {"json": WHY}
    ),
    "POST /api/billing-runs/{run_id:int}/resume": Call(
        "/api/billing-runs/1/resume",
        "run.resumed",
        ("run", "1"),
        {"params": WHY},
        after="POST /api/billing-runs/{run_id:int}/pause",
    ),
    "POST /api/billing-runs/{run_id:int}/cancel": Call(
        "/api/billing-runs/1/cancel",
        "run.cancelled",
        ("run", "1"),
        {"params": WHY},
        after="POST /api/billing-runs/{run_id:int}/resume",
    ),
    "POST /api/billing-runs/{run_id:int}/void": Call(
        "/api/billing-runs/2/void", "run.voided", ("run", "2"), {"json": WHY}
    ),
    "POST /api/billing-attempts/{attempt_id:int}/refund": Call(
        "/api/billing-attempts/1/refund", "refund.ordered", ("attempt", "1"), {"json": WHY}
    ),
    "POST /api/billing-attempts/{attempt_id:int}/void": Call(
        "/api/billing-attempts/2/void", "void.ordered", ("attempt", "2"), {"json": WHY}
    ),
    "POST /api/billing-attempts/{attempt_id:int}/inquiry": Call(
        "/api/billing-attempts/3/inquiry", "inquiry.ordered", ("attempt", "3"), {"json": WHY}
    ),
    "POST /api/billing-attempts/{attempt_id:int}/forgive": Call(
        "/api/billing-attempts/4/forgive", "chargeback.forgiven", ("attempt", "4"), {"json": WHY}
    ),
    "POST /api/billing-attempts/{attempt_id:int}/outcome": Call(
        "/api/billing-attempts/5/outcome",
        "outcome.stated",
        ("attempt", "5"),
        {"json": {"outcome": "declined", **WHY}},
    ),
    "POST /api/refunds/{refund_id:int}/outcome": Call(
        "/api/refunds/1/outcome",
        "outcome.stated",
        ("refund", "1"),
        {"json": {"outcome": "declined", **WHY}},
        after="POST /api/billing-attempts/{attempt_id:int}/refund",
    ),
    "POST /api/webhook-events/{event_id:int}/replay": Call(
        "/api/webhook-events/1/replay", "notification.replayed", ("notification", "1"), {"params": WHY}
    ),
    "POST /api/quarantine/reverify": Call(
        "/api/quarantine/reverify", "quarantine.reverified", ("quarantine", None), {"json": WHY}
    ),
    "POST /api/relays": Call(
        "/api/relays", "relay.created", ("relay", "1"), {"json": {"name": "partner", **WHY}}
    ),
    "DELETE /api/relays/{relay_id:int}": Call(
        "/api/relays/1", "relay.revoked", ("relay", "1"), {"params": WHY}, after="POST /api/relays"
    ),
    "POST /api/bulk-orders": Call(
        "/api/bulk-orders",
        "bulk.ordered",
        ("bulk_order", "1"),
        {"json": {"action": "inquire", "filters": {"status": "approved"}, **WHY}},
    ),
    "POST /api/bulk-orders/{bulk_order_id:int}/stop": Call(
        "/api/bulk-orders/1/stop", "bulk.stopped", ("bulk_order", "1"), after="POST /api/bulk-orders"
    ),
    "POST /api/blacklist": Call(
        "/api/blacklist",
        "blacklist.added",
        ("blacklist_entry", "1"),
        {"json": {"iban": "DE89370400440532013000", "note": "see DE89370400440532013000"}},
    ),
    "DELETE /api/blacklist/{entry_id:int}": Call(
        "/api/blacklist/1",
        "blacklist.lifted",
        ("blacklist_entry", "1"),
        {"params": WHY},
        after="POST /api/blacklist",
    ),
    "POST /api/blacklist/import": Call(
        "/api/blacklist/import",
        "blacklist.imported",
        ("blacklist", None),
        {"content": b"iban\nAT611904300234573201\n"},
    ),
    "PUT /api/statement-texts": Call(
        "/api/statement-texts",
        "statement_text.stored",
        ("statement_text", "all 2026-12"),
        {"json": {"month": "2026-12", "text": "Example, DE89370400440532013000"}},
    ),
    "DELETE /api/statement-texts": Call(
        "/api/statement-texts",
        "statement_text.removed",
        ("statement_text", "all 2026-12"),
        {"params": {"month": "2026-12"}},
        after="PUT /api/statement-texts",
    ),
    "POST /api/uploads/{upload_id:int}/pre-notifications": Call(
        "/api/uploads/1/pre-notifications",
        "pre_notifications.ordered",
        ("upload", "1"),
        {"json": {"due_item": "2026-12"}},
    ),
    "POST /api/uploads/{upload_id:int}/exclude-charged-back": Call(
        "/api/uploads/1/exclude-charged-back", "upload.debtors_excluded", ("upload", "1"), {"json": WHY}
    ),
    "POST /api/uploads/{upload_id:int}/preflight": Call(
        "/api/uploads/1/preflight", "preflight.made", ("upload", "1"), {"json": {}}
    ),
    "POST /api/return-policies": Call(
        "/api/return-policies",
        "return_policy.added",
        ("return_policy", "1"),
        {"json": {"based_on": 0, "rules": {"MS02": {"action": "block"}}, **WHY}},
    ),
    "POST /api/return-policies/{version:int}/dry-run": Call(
        "/api/return-policies/1/dry-run",
        "return_policy.tried",
        ("return_policy", "1"),
        {"json": {}},
        after="POST /api/return-policies",
    ),
    "POST /api/return-policies/{version:int}/switch": Call(
        "/api/return-policies/1/switch",
        "return_policy.switched",
        ("return_policy", "1"),
        {"json": {"active": 0, **WHY}},
        after="POST /api/return-policies/{version:int}/dry-run",
    ),
    "POST /api/reconciliation-differences/{line_id:int}/acknowledge": Call(
        "/api/reconciliation-differences/1/acknowledge",
        "difference.acknowledged",
        ("difference", "1"),
        {"json": WHY},
    ),
    "PATCH /api/debtors/{debtor_id:int}": Call(
        "/api/debtors/1",
        "debtor.edited",
        ("debtor", "1"),
        {"json": {"version": 0, "changes": {"amount_minor": 1200}, **WHY}},
    ),
    "POST /api/debtors/{debtor_id:int}/dossier": Call(
        "/api/debtors/7/dossier", "debtor.exported", ("debtor", "7"), {"json": WHY}
    ),
    "POST /api/debtors/{debtor_id:int}/erasure": Call(
        "/api/debtors/7/erasure", "debtor.erased", ("debtor", "7"), {"json": {"debtor_ids": [7], **WHY}}
    ),
    "POST /api/collection-plans": Call(
        "/api/collection-plans",
        "collection_plan.added",
        ("collection_plan", "2"),
        {"json": {"name": "DE89370400440532013000"}},
    ),
    "POST /api/collection-plans/{collection_plan_id:int}/pause": Call(
        "/api/collection-plans/2/pause",
        "collection_plan.paused",
        ("collection_plan", "2"),
        {"json": WHY},
        after="POST /api/collection-plans",
    ),
    "POST /api/collection-plans/{collection_plan_id:int}/resume": Call(
        "/api/collection-plans/2/resume",
        "collection_plan.resumed",
        ("collection_plan", "2"),
        after="POST /api/collection-plans/{collection_plan_id:int}/pause",
    ),
    "POST /api/collection-plans/{collection_plan_id:int}/end": Call(
        "/api/collection-plans/2/end",
        "collection_plan.ended",
        ("collection_plan", "2"),
        {"json": WHY},
        after="POST /api/collection-plans/{collection_plan_id:int}/resume",
    ),
    "POST /api/mandates": Call(
        "/api/mandates",
        "mandate.added",
        ("mandate", "2"),
        {"json": {"debtor_id": 2, "reference": "M-2", "signed_on": "2026-01-05"}},
    ),
    "POST /api/mandates/{mandate_id:int}/amend": Call(
        "/api/mandates/2/amend",
        "mandate.amended",
        ("mandate", "2"),
        {"json": {"signed_on": "2026-01-06", **WHY}},
        after="POST /api/mandates",
    ),
    "POST /api/mandates/{mandate_id:int}/cancel": Call(
        "/api/mandates/2/cancel",
        "mandate.cancelled",
        ("mandate", "2"),
        {"json": WHY},
        after="POST /api/mandates/{mandate_id:int}/amend",
    ),
    "POST /api/collection-plans/{collection_plan_id:int}/schedules": Call(
        "/api/collection-plans/1/schedules",
        "collection_plan.enrolled",
        ("collection_plan", "1"),
        {"json": {"upload_id": 1, "first_due_on": "2030-01-02", "mandate_signed_on": "2026-01-05"}},
        after="POST /api/mandates",
    ),
    "POST /api/pre-notifications/give": Call(
        "/api/pre-notifications/give",
        "pre_notifications.given",
        ("pre_notifications", None),
        {"json": {"ids": [1]}},
    ),
    "POST /api/due-items/{due_item_id:int}/recover": Call(
        "/api/due-items/1/recover", "due_item.recovered", ("due_item", "1"), {"json": WHY}
    ),
    "POST /api/due-items/{due_item_id:int}/waive": Call(
        "/api/due-items/2/waive", "due_item.waived", ("due_item", "2"), {"json": WHY}
    ),
    "POST /api/schedules/{schedule_id:int}/pause": Call(
        "/api/schedules/1/pause", "schedule.paused", ("schedule", "1"), {"json": WHY}
    ),
    "POST /api/schedules/{schedule_id:int}/resume": Call(
        "/api/schedules/1/resume",
        "schedule.resumed",
        ("schedule", "1"),
        after="POST /api/schedules/{schedule_id:int}/pause",
    ),
    "POST /api/schedules/{schedule_id:int}/end": Call(
        "/api/schedules/1/end",
        "schedule.ended",
        ("schedule", "1"),
        {"json": WHY},
        after="POST /api/schedules/{schedule_id:int}/resume",
    ),
    "POST /api/gateway-accounts/{name:str}/pause": Call(
        "/api/gateway-accounts/default/pause", "account.paused", ("account", "default"), {"json": WHY}
    ),
    "POST /api/gateway-accounts/{name:str}/resume": Call(
        "/api/gateway-accounts/default/resume",
        "account.resumed",
        ("account", "default"),
        after="POST /api/gateway-accounts/{name:str}/pause",
    ),
    "POST /api/queues/{name:str}/pause": Call(
        "/api/queues/billing/pause", "queue.paused", ("queue", "billing"), {"json": WHY}
    ),
    "POST /api/queues/{name:str}/resume": Call(
        "/api/queues/billing/resume",
        "queue.resumed",
        ("queue", "billing"),
        after="POST /api/queues/{name:str}/pause",
    ),
    "POST /api/queues/{name:str}/retry": Call(
        "/api/queues/webhooks/retry", "queue.retried", ("queue", "webhooks"), {"json": WHY}
    ),
    "POST /api/queues/{name:str}/clear": Call(
        "/api/queues/webhooks/clear", "queue.cleared", ("queue", "webhooks"), {"json": WHY}
    ),
    "POST /api/workers/restart": Call(
        "/api/workers/restart", "workers.restarted", ("workers", None), {"json": WHY}
    ),
    "POST /api/users": Call(
        "/api/users", "user.created", ("user", "1"), {"json": {"name": "bea", "role": "viewer", **WHY}}
    ),
    "PATCH /api/users/{user_id:int}": Call(
        "/api/users/1",
        "user.changed",
        ("user", "1"),
        {"json": {"role": "operator", **WHY}},
        after="POST /api/users",
    ),
    "POST /api/users/{user_id:int}/unbind": Call(
        "/api/users/1/unbind", "user.unbound", ("user", "1"), {"json": WHY}, after="POST /api/users"
    ),
    "POST /api/users/{user_id:int}/reset": Call(
        "/api/users/1/reset", "user.password_reset", ("user", "1"), {"json": WHY}, after="POST /api/users"
    ),
    "POST /api/api-keys": Call(
        "/api/api-keys",
        "api_key.created",
        ("api_key", "1"),
        {"json": {"name": "ci", "role": "viewer", **WHY}},
    ),
    "DELETE /api/api-keys/{key_id:int}": Call(
        "/api/api-keys/1", "api_key.revoked", ("api_key", "1"), {"params": WHY}, after="POST /api/api-keys"
    ),
    "POST /api/subscribers": Call(
        "/api/subscribers",
        "subscriber.added",
        ("subscriber", "2"),
        {"json": {"name": "books", "url": "https://books.example/events", "after": 0, **WHY}},
    ),
    "PATCH /api/subscribers/{subscriber_id:int}": Call(
        "/api/subscribers/2",
        "subscriber.changed",
        ("subscriber", "2"),
        {"json": {"types": ["iban.blocked"], **WHY}},
        after="POST /api/subscribers",
    ),
    "POST /api/subscribers/{subscriber_id:int}/pause": Call(
        "/api/subscribers/2/pause",
        "subscriber.changed",
        ("subscriber", "2"),
        {"json": WHY},
        after="POST /api/subscribers",
    ),
    "POST /api/subscribers/{subscriber_id:int}/activate": Call(
        "/api/subscribers/2/activate",
        "subscriber.changed",
        ("subscriber", "2"),
        {"json": WHY},
        after="POST /api/subscribers/{subscriber_id:int}/pause",
    ),
    "POST /api/subscribers/{subscriber_id:int}/rotate": Call(
        "/api/subscribers/2/rotate",
        "subscriber.secret_rotated",
        ("subscriber", "2"),
        {"json": WHY},
        after="POST /api/subscribers",
    ),
    "POST /api/subscribers/{subscriber_id:int}/replay": Call(
        "/api/subscribers/1/replay",
        "subscriber.replayed",
        ("subscriber", "1"),
        {"json": {"after": 0, **WHY}},
    ),
    "POST /api/deliveries/{delivery_id:int}/replay": Call(
        "/api/deliveries/1/replay",
        "subscriber.replayed",
        ("subscriber", "1"),
        {"json": WHY},
        after="POST /api/subscribers/{subscriber_id:int}/replay",
    ),
    "DELETE /api/subscribers/{subscriber_id:int}": Call(
        "/api/subscribers/1",
        "subscriber.removed",
        ("subscriber", "1"),
        {"params": WHY},
        after="POST /api/deliveries/{delivery_id:int}/replay",
    ),
}

# Routes that change something and leave no row, or whose row comes from another route, and why.
UNRECORDED: Final[dict[str, str]] = {
    "POST /api/preflight-reports/verify": "it changes nothing: a report is sent, and the response says whether it is signed",
    **dict.fromkeys(
        (
            "POST /sign-in",
            "POST /sign-out",
            "POST /second-factor",
            "POST /account/password",
            "POST /account/second-factor",
            "POST /account/second-factor/remove",
            "POST /account/backup-codes",
        ),
        "the person's own session, password and second factor: tests/web/people/test_sign_in.py looks for the rows",
    ),
    **dict.fromkeys(
        (
            "POST /uploads",
            "POST /uploads/{key:int}/answers",
            "POST /uploads/{key:int}/withdraw",
            "POST /uploads/{key:int}/billing",
            "POST /uploads/{key:int}/pre-notifications",
            "POST /runs/{key:int}/{action:str}",
            "POST /payments/{key:int}/{action:str}",
            "POST /notifications/{key:int}/replay",
            "POST /bulk-orders",
            "POST /bulk-orders/{key:int}/stop",
            "POST /blacklist",
            "POST /blacklist/{key:int}/lift",
            "POST /blacklist/import",
            "POST /checks",
            "POST /checks/{key:int}/remove",
            "POST /uploads/{key:int}/checks",
            "POST /layout-answers/{key:int}/forget",
            "POST /runs/{key:int}/release-refusals",
            "POST /payments/{key:int}/refunds/{refund:int}/outcome",
            "POST /differences/{key:int}/acknowledge",
            "POST /debtors/{key:int}/edit",
            "POST /debtors/{key:int}/dossier",
            "POST /debtors/{key:int}/erasure",
            "POST /relays",
            "POST /relays/revoke",
            "POST /quarantine/preview",
            "POST /quarantine/reverify",
            "POST /return-policies",
            "POST /return-policies/{version:int}/dry-run",
            "POST /return-policies/{version:int}/switch",
            "POST /statement-texts",
            "POST /statement-texts/remove",
            "POST /uploads/{key:int}/preflight",
            "POST /uploads/{key:int}/exclude-charged-back",
            "POST /queues/{name:str}/pause",
            "POST /queues/{name:str}/resume",
            "POST /queues/retry",
            "POST /queues/clear",
            "POST /workers/restart",
            "POST /payments/{key:int}/inquire",
            "POST /payments/{key:int}/forgive",
            "POST /payments/{key:int}/outcome",
            "POST /gateway-accounts/{name:str}/pause",
            "POST /gateway-accounts/{name:str}/resume",
            "POST /collection-plans",
            "POST /collection-plans/{key:int}/enrol",
            "POST /collection-plans/{key:int}/{step:str}",
            "POST /schedules/{key:int}/{step:str}",
            "POST /schedules/{key:int}/due-items/{item:int}/{step:str}",
            "POST /mandates",
            "POST /mandates/{key:int}/{step:str}",
            "POST /pre-notifications/give",
            "POST /subscribers",
            "POST /subscribers/{key:int}/change",
            "POST /subscribers/{key:int}/replay",
            "POST /subscribers/{key:int}/rotate",
            "POST /subscribers/{key:int}/remove",
            "POST /subscribers/{key:int}/{step:str}",
            "POST /deliveries/{key:int}/replay",
            "POST /people/users",
            "POST /people/keys",
            "POST /people/keys/revoke",
            "POST /people/{key:int}/change",
            "POST /people/{key:int}/reset",
            "POST /people/{key:int}/unbind",
        ),
        "a form of the console: it sends one order to the API, whose route records it",
    ),
}
