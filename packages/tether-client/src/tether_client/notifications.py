"""Notifications of the gateway, as they are stored."""

from datetime import datetime
from typing import Any

import msgspec

from tether_client.connection import Connection, given
from tether_client.pages import Page

__all__ = [
    "EventDetail",
    "NotificationRoutes",
    "ReplayChange",
    "ReplayEffect",
    "ReplayPreview",
    "ReportedStatus",
    "WebhookEvent",
]


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """
    A notification in lists.

    Attributes:
        id: Our row.
        source: "webhook", or "report" for a record of the gateway's reports.
        kind: What it is about: "payment" and so on, see `tether_core.emp.notification`.
        notification_id: The signed id; for a payment, the gateway's `unique_id`.
        status: The status as reported.
        event: The event of a dispute, if there is one.
        account: The gateway account that signed.
        state: Its state, see `tether_core.notifications.inbox`.
        outcome: The result: "applied", "unchanged", "contradicted" and so on; null before.
        reason: The cause of the outcome, a stable word.
        failures: Attempts to apply it that failed.
        attempt_id: The billing attempt that it names, if there is one.
        conflicts_with: For a conflicting one: the row with the same key and other content.
        confirmed_status: The status in the gateway's own record, if an inquiry was made.
        confirmed_at: When that record was stored.
        contradicted_count: How often the gateway contradicted it.
        first_contradicted_at: When the gateway first contradicted it.
        last_contradicted_at: When the gateway last contradicted it.
        received_at: When it was received.
        next_at: When it is due; null when it is complete.
        handled_at: When it was last processed.
        relay_id: The relay by which it first came; null for the plain route.
        sender: The address of its sender, where it came by a relay.
    """

    id: int
    source: str
    kind: str
    notification_id: str
    status: str
    event: str | None
    account: str
    state: str
    outcome: str | None
    reason: str | None
    failures: int
    attempt_id: int | None
    conflicts_with: int | None
    confirmed_status: str | None
    confirmed_at: datetime | None
    contradicted_count: int
    first_contradicted_at: datetime | None
    last_contradicted_at: datetime | None
    received_at: datetime
    next_at: datetime | None
    handled_at: datetime | None
    relay_id: int | None = None
    sender: str | None = None


class ReportedStatus(msgspec.Struct, frozen=True, kw_only=True):
    """
    The status of a payment, as reported by a notification or by the gateway.

    Attributes:
        status: The status at the gateway.
        error_code: Code of an error or decline.
        reason_code: Reason code of a chargeback.
    """

    status: str
    error_code: str | None
    reason_code: str | None


class EventDetail(msgspec.Struct, frozen=True, kw_only=True):
    """
    One notification with its fields.

    Attributes:
        event: The row, as in the list.
        reported: The status that the notification reports; its signature covers only its id.
        confirmed: The status by inquiry at the gateway, or null.
        contradicted: Whether the gateway contradicts the notification, so that it had no effect.
        excess_deliveries: Further deliveries of it that are only counted.
        content_type: Its media type.
        fields: Its fields, personal ones masked; empty if it cannot be read. The stored bytes keep the
            original.
    """

    event: WebhookEvent
    reported: ReportedStatus
    confirmed: ReportedStatus | None
    contradicted: bool
    excess_deliveries: int
    content_type: str
    fields: dict[str, str]


class ReplayChange(msgspec.Struct, frozen=True, kw_only=True):
    """
    A field that changes.

    Attributes:
        subject: "attempt" or "refund".
        subject_id: Its row.
        field: "status", "reason_code", "error_code" or "unique_id".
        before: Its value now, or `None`.
        after: Its value afterwards, or `None`.
    """

    subject: str
    subject_id: int
    field: str
    before: str | None
    after: str | None


class ReplayEffect(msgspec.Struct, frozen=True, kw_only=True):
    """
    What processing a notification does.

    Attributes:
        outcome: "applied", "unchanged", "not_yet", "confirm", "contradicted" or "park".
        reason: The cause, a stable word.
        explanation: The cause as a sentence.
        state: The state of the notification afterwards.
        changes: Fields that change; empty where nothing does.
        blacklist: Blacklist entries to make, as "action: reason code".
        events: Names of the events to announce.
    """

    outcome: str
    reason: str
    explanation: str
    state: str
    changes: list[ReplayChange] = []
    blacklist: list[str] = []
    events: list[str] = []


class ReplayPreview(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a replay would do; nothing was changed.

    Attributes:
        now: What happens at once.
        confirmed: What happens if the gateway confirms what is reported; `None` where it is not inquired.
    """

    now: ReplayEffect
    confirmed: ReplayEffect | None


class NotificationRoutes(Connection):
    """Routes of stored notifications."""

    def notifications(
        self,
        *,
        status: str | None = None,
        unique_id: str | None = None,
        account: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[WebhookEvent]:
        """Notifications of the gateway, newest first; *account* goes with *unique_id*, or with a *status* other than processed."""
        return self._get("/api/webhook-events", Page[WebhookEvent], **given(locals()))

    def notification(self, event_id: int) -> EventDetail:
        """One notification with its fields."""
        return self._get(f"/api/webhook-events/{event_id}", EventDetail)

    def preview_replay(self, event_id: int) -> ReplayPreview:
        """What a replay of a notification would change; nothing is changed."""
        return self._get(f"/api/webhook-events/{event_id}/replay-preview", ReplayPreview)

    def replay_notification(self, event_id: int, *, reason: str = "") -> dict[str, Any]:
        """Process a notification again."""
        path = f"/api/webhook-events/{event_id}/replay"
        return self._post(path, None, dict[str, Any], params={"reason": reason})
