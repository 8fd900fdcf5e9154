"""`Client`: one method for each route of the API."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from tether_client import events
from tether_client.accounts import AccountPause, AccountResponse
from tether_client.billing import Preview, RunDetail, RunOrder, RunResponse
from tether_client.blacklist import Lifted, ListedEntry
from tether_client.bulk_orders import BulkItem, BulkOrder, BulkOrderDetail, BulkPreview
from tether_client.credentials import checked_url
from tether_client.debtors import DebtorResponse, EditResponse, ListedDebtor
from tether_client.errors import Defective, NotAllowed, Refused, Unavailable
from tether_client.figures import AgeingPage, ExposurePage, FigurePage
from tether_client.health import Readiness
from tether_client.inquiry_orders import InquiryOrder
from tether_client.notifications import EventDetail, ReplayPreview, WebhookEvent
from tether_client.operation import (
    Cleared,
    ListedQueue,
    Pause,
    RestartResponse,
    Retried,
    StoreStatus,
    Workers,
)
from tether_client.pages import PAGE_MAX, Page
from tether_client.payments import ExposureResponse, ListedAttempt
from tether_client.people import ApiKey, AuditEntry, KeyWithSecret, ListedUser, Me, UserWithPassword
from tether_client.reconciliation import DifferenceLine
from tether_client.recurring import (
    CollectionPlan,
    DueItem,
    Forecast,
    GivenResponse,
    MandateRow,
    NoticeResponse,
    PlanDetail,
    Schedule,
    ScheduleDetail,
)
from tether_client.refunds import ListedRefund, RunVoid, RunVoidDetail, RunVoidPreview
from tether_client.subscribers import Delivery, DeliveryDetail, Replay, Subscriber, SubscriberWithSecret
from tether_client.uploads import Upload, UploadDetail, UploadResponse

__all__ = ["Client"]

T = TypeVar("T")

# Waits before a request is repeated, in seconds: a node that restarts is back within these, and a person waits that long.
_WAITS_S: Final = (0.3, 1.0)
_POLL_MIN_S: Final = 0.2
_POLL_MAX_S: Final = 2.0
_READ: Final = frozenset({"completed", "failed", "needs_answer", "withdrawn"})
_ENDED: Final = frozenset({"finished", "cancelled", "paused"})


class _Counted:
    """A file that reports how much of it was read."""

    def __init__(self, file: BinaryIO, size_bytes: int, on_sent: Callable[[int, int], None]) -> None:
        self._file, self._size, self._on_sent = file, size_bytes, on_sent

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._on_sent(self._file.tell(), self._size)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class Client:
    """
    A connection to Tether.

    Reads, and orders with an Idempotency-Key, are repeated twice when Tether cannot be reached or answers 503; nothing else is.
    Orders have a fresh key unless the caller gives one, so a repeat never orders twice.

    Raises, in every method:
        NotAllowed: when the key is unknown or has no permission.
        Refused: when Tether refuses the request.
        Unavailable: when Tether cannot be reached, or cannot answer now.
        Defective: when Tether failed, or something else answered in its place.
    """

    def __init__(self, url: str, *, api_key: str, timeout_s: float = 30.0) -> None:
        """
        Open nothing yet.

        Args:
            url: Such as "https://tether.example".
            api_key: A key of Tether's API.
            timeout_s: How long to wait for a connection, and for each part of a response.
        """
        self._http = httpx.Client(
            base_url=checked_url(url),
            headers={"Authorization": f"Bearer {_header(api_key)}", "User-Agent": "tether-client"},
            timeout=timeout_s,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Operation

    def readiness(self) -> Readiness:
        """Whether this node can record notifications, and which services answer. Needs no key."""
        # 503 has the same body: it says what does not answer.
        return _decoded(self._answered("GET", "/ready", allowed=frozenset({503})), Readiness)

    def check_key(self) -> None:
        """Make a request that needs a valid key, and nothing else."""
        self.uploads(limit=1)

    def queues(self) -> list[ListedQueue]:
        """Queues: what waits, who serves them, and whether they are paused."""
        return self._get("/api/queues", list[ListedQueue])

    def pause_queue(self, name: str, *, reason: str) -> Pause:
        """Pause a queue on all nodes: what is in progress ends, nothing else begins."""
        return self._post(f"/api/queues/{_part(name)}/pause", {"reason": reason}, Pause)

    def resume_queue(self, name: str) -> Pause:
        """Go on with a queue; returns the pause that ended."""
        return self._post(f"/api/queues/{_part(name)}/resume", None, Pause)

    def retry_queue(self, name: str, *, reason: str) -> Retried:
        """Try again now what waits for its next try; never submits a debit."""
        return self._post(f"/api/queues/{_part(name)}/retry", {"reason": reason}, Retried)

    def clear_queue(self, name: str, *, reason: str) -> Cleared:
        """Remove the wake-ups of a queue; no work is lost by that."""
        return self._post(f"/api/queues/{_part(name)}/clear", {"reason": reason}, Cleared)

    def gateway_accounts(self) -> list[AccountResponse]:
        """Gateway accounts: limits, circuit breaker, open submissions, pauses."""
        return self._get("/api/gateway-accounts", list[AccountResponse])

    def pause_account(self, name: str, *, reason: str) -> AccountPause:
        """Submit nothing more with a gateway account, on all nodes; inquiries and notifications go on."""
        return self._post(f"/api/gateway-accounts/{_part(name)}/pause", {"reason": reason}, AccountPause)

    def resume_account(self, name: str) -> AccountPause:
        """Submit with a gateway account again; returns the pause that ended."""
        return self._post(f"/api/gateway-accounts/{_part(name)}/resume", None, AccountPause)

    def workers(self) -> Workers:
        """Supervisors and workers that live."""
        return self._get("/api/workers", Workers)

    def restart_workers(self, *, reason: str) -> RestartResponse:
        """Restart all workers; those of a supervisor one after the other."""
        return self._post("/api/workers/restart", {"reason": reason}, RestartResponse)

    def store_status(self) -> StoreStatus:
        """Connections, memory and wake-ups of Postgres and Redis."""
        return self._get("/api/store-status", StoreStatus)

    def differences(
        self,
        *,
        kind: str | None = None,
        attempt_id: int | None = None,
        status: str = "open",
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[DifferenceLine]:
        """Reconciliation differences; *status* is "open" or "all"."""
        return self._get("/api/reconciliation-differences", Page[DifferenceLine], **_given(locals()))

    def difference(self, line_id: int) -> DifferenceLine:
        """One reconciliation difference."""
        return self._get(f"/api/reconciliation-differences/{line_id}", DifferenceLine)

    def acknowledge_difference(
        self, line_id: int, *, reason: str, order_again: bool = False
    ) -> DifferenceLine:
        """
        Close a difference with what was found.

        Args:
            order_again: For a refund that failed later: it did not happen, so the debit may be refunded again.
        """
        body = {"reason": reason, "order_again": order_again}
        return self._post(f"/api/reconciliation-differences/{line_id}/acknowledge", body, DifferenceLine)

    def completeness(self, *, from_on: str | None = None, to_on: str | None = None) -> dict[str, Any]:
        """Whether Tether has everything that the gateway's reports of some days list; days as 2026-03-02, yesterday without."""
        return self._get("/api/completeness", dict[str, Any], **{"from": from_on, "to": to_on})

    def follow_events(
        self, *, after: int | None = None, types: list[str] | None = None
    ) -> Iterator[events.Event]:
        """
        Events as they happen, until the stream ends: after half an hour, or when its node stops.

        Args:
            after: The id of the last event that is known; 0 for all stored events, `None` for new ones only.
            types: Only events of these types, such as "attempt.status_changed"; `None` for all.
        """
        query: dict[str, Any] = {"type": types or None, "after": after}
        given = {name: value for name, value in query.items() if value is not None}
        # A comment comes every 15 seconds, so a longer silence is a dead connection.
        timeout = httpx.Timeout(self._http.timeout.connect, read=60.0)
        try:
            with self._http.stream("GET", "/api/events", params=given, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise _failed(response)
                yield from events.decoded(response.iter_lines())
        except httpx.TransportError as exc:
            raise _unreachable(self._http, exc) from exc

    # Uploads

    def add_upload(
        self,
        file: Path,
        *,
        fields: Mapping[str, str] | None = None,
        on_sent: Callable[[int, int], None] = lambda _sent, _size: None,
    ) -> UploadResponse:
        """
        Upload a file of debtors. The same bytes with the same answers are the same upload.

        Args:
            file: CSV, XLSX, XLS, XLSB or ODS.
            fields: Further parts of the form, such as `{"dry_run": "true"}`; see docs/guides/uploads.md.
            on_sent: Called with the bytes sent so far and the size of the file.
        """
        try:
            size = file.stat().st_size
            with file.open("rb") as opened:
                part = _Counted(opened, size, on_sent)
                files = {"file": (file.name, part, "application/octet-stream")}
                response = self._answered("POST", "/api/uploads", data=fields, files=files)
        except OSError as exc:
            raise Refused(f"{file} cannot be read: {exc.strerror}.") from None
        return _decoded(response, UploadResponse)

    def uploads(
        self, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Upload]:
        """Uploads, newest first."""
        return self._get("/api/uploads", Page[Upload], **_given(locals()))

    def upload(self, upload_id: int) -> UploadDetail:
        """One upload with its plan and questions."""
        return self._get(f"/api/uploads/{upload_id}", UploadDetail)

    def answer_upload(self, upload_id: int, answers: Mapping[str, Any]) -> UploadResponse:
        """
        Answer the questions of an upload, or read a failed one again.

        Args:
            answers: Any of mapping, formats, encoding, collect, keep_columns, screening, remember.
        """
        return self._post(f"/api/uploads/{upload_id}/answers", answers, UploadResponse)

    def withdraw_upload(self, upload_id: int, *, reason: str) -> UploadDetail:
        """Withdraw an upload of which nothing was submitted."""
        response = self._answered("DELETE", f"/api/uploads/{upload_id}", params={"reason": reason})
        return _decoded(response, UploadDetail)

    def await_upload(
        self,
        upload_id: int,
        *,
        timeout_s: float = 3_600,
        on_progress: Callable[[Upload], None] = lambda _upload: None,
    ) -> UploadDetail:
        """
        Wait until an upload is read, needs an answer, has failed or was withdrawn.

        Raises:
            Unavailable: when that takes longer than *timeout_s*.
        """

        def look() -> UploadDetail | None:
            found = self.upload(upload_id)
            on_progress(found.upload)
            return found if found.upload.state in _READ else None

        return _polled(look, timeout_s=timeout_s, what=f"upload {upload_id} to be read")

    # Billing runs

    def preview_run(self, upload_id: int, order: RunOrder, *, limit: int = 100) -> Preview:
        """What a run of an upload would do; nothing is changed."""
        body = {**_plain(order), "dry_run": True}
        return self._post(f"/api/uploads/{upload_id}/billing", body, Preview, params={"limit": limit})

    def order_run(
        self, upload_id: int, order: RunOrder, *, idempotency_key: str | None = None
    ) -> RunResponse:
        """Order a billing run of an upload. The same *idempotency_key* gives the same run."""
        return self._order(f"/api/uploads/{upload_id}/billing", _plain(order), RunResponse, idempotency_key)

    def runs(
        self,
        *,
        status: str | None = None,
        upload: int | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[RunResponse]:
        """Billing runs, newest first."""
        return self._get("/api/billing-runs", Page[RunResponse], **_given(locals()))

    def run(self, run_id: int) -> RunDetail:
        """One run and its progress."""
        return self._get(f"/api/billing-runs/{run_id}", RunDetail)

    def pause_run(self, run_id: int, *, reason: str) -> RunResponse:
        """Pause a run: after the response no further submission begins."""
        return self._post(f"/api/billing-runs/{run_id}/pause", {"reason": reason}, RunResponse)

    def resume_run(self, run_id: int) -> RunResponse:
        """Go on with a paused run."""
        return self._post(f"/api/billing-runs/{run_id}/resume", None, RunResponse)

    def cancel_run(self, run_id: int) -> RunResponse:
        """End a run: what was not submitted stays so."""
        return self._post(f"/api/billing-runs/{run_id}/cancel", None, RunResponse)

    def await_run(
        self,
        run_id: int,
        *,
        timeout_s: float = 86_400,
        on_progress: Callable[[RunDetail], None] = lambda _run: None,
    ) -> RunDetail:
        """
        Wait until a run is finished, cancelled or paused.

        Raises:
            Unavailable: when that takes longer than *timeout_s*.
        """

        def look() -> RunDetail | None:
            found = self.run(run_id)
            on_progress(found)
            return found if found.run.state in _ENDED else None

        return _polled(look, timeout_s=timeout_s, what=f"run {run_id} to end")

    # Payments, refunds, voids, status inquiries

    def payments(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[ListedAttempt]:
        """
        Billing attempts, newest first.

        Args:
            filters: As in docs/guides/attempts.md, such as `status="chargebacked"`, `upload=7` or `created_from=...`.
        """
        query = {**filters, "cursor": cursor, "limit": limit}
        return self._get("/api/billing-attempts", Page[ListedAttempt], **query)

    def payment(self, attempt_id: int) -> ListedAttempt:
        """One billing attempt."""
        return self._get(f"/api/billing-attempts/{attempt_id}", ListedAttempt)

    def exposure(self, attempt_id: int) -> ExposureResponse:
        """Until when a payment can be returned, refunded or voided."""
        return self._get(f"/api/billing-attempts/{attempt_id}/exposure", ExposureResponse)

    def refunds_of(self, attempt_id: int) -> list[ListedRefund]:
        """The refunds and voids of a payment."""
        return self._get(f"/api/billing-attempts/{attempt_id}/refunds", list[ListedRefund])

    def refund(
        self, attempt_id: int, *, usage: str | None = None, idempotency_key: str | None = None
    ) -> ListedRefund:
        """Order the refund of a payment; *usage* is the text on the debtor's bank statement."""
        body = {} if usage is None else {"usage": usage}
        return self._order(f"/api/billing-attempts/{attempt_id}/refund", body, ListedRefund, idempotency_key)

    def void(
        self, attempt_id: int, *, usage: str | None = None, idempotency_key: str | None = None
    ) -> ListedRefund:
        """Order the void of a payment that was submitted today."""
        body = {} if usage is None else {"usage": usage}
        return self._order(f"/api/billing-attempts/{attempt_id}/void", body, ListedRefund, idempotency_key)

    def preview_run_void(self, run_id: int, *, reason: str) -> RunVoidPreview:
        """What voiding a run would do; nothing is changed."""
        body = {"reason": reason, "dry_run": True}
        return self._post(f"/api/billing-runs/{run_id}/void", body, RunVoidPreview)

    def void_run(self, run_id: int, *, reason: str, idempotency_key: str | None = None) -> RunVoid:
        """Order the void of all debits of a run that can still be voided."""
        return self._order(f"/api/billing-runs/{run_id}/void", {"reason": reason}, RunVoid, idempotency_key)

    def run_void(self, void_id: int) -> RunVoidDetail:
        """An order to void a run, with its progress."""
        return self._get(f"/api/run-voids/{void_id}", RunVoidDetail)

    def inquire(
        self,
        scope: str,
        subject_id: int,
        *,
        reason: str,
        what: str | None = None,
        idempotency_key: str | None = None,
    ) -> InquiryOrder:
        """
        Inquire the status of debits at the gateway now.

        Args:
            scope: "payment", "run" or "upload".
            subject_id: Of the payment, run or upload.
            what: Of a run or an upload: "open" (the default) or "submitted".
        """
        folder = {"payment": "billing-attempts", "run": "billing-runs", "upload": "uploads"}[scope]
        body = {"reason": reason} if what is None else {"reason": reason, "what": what}
        return self._order(f"/api/{folder}/{subject_id}/inquiry", body, InquiryOrder, idempotency_key)

    # Notifications

    def notifications(
        self,
        *,
        status: str | None = None,
        unique_id: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[WebhookEvent]:
        """Notifications of the gateway, newest first."""
        return self._get("/api/webhook-events", Page[WebhookEvent], **_given(locals()))

    def notification(self, event_id: int) -> EventDetail:
        """One notification with its fields."""
        return self._get(f"/api/webhook-events/{event_id}", EventDetail)

    def preview_replay(self, event_id: int) -> ReplayPreview:
        """What a replay of a notification would change; nothing is changed."""
        return self._get(f"/api/webhook-events/{event_id}/replay-preview", ReplayPreview)

    def replay_notification(self, event_id: int) -> dict[str, Any]:
        """Process a notification again."""
        return self._post(f"/api/webhook-events/{event_id}/replay", None, dict[str, Any])

    # Blacklist

    def blacklist(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[ListedEntry]:
        """
        Blacklist entries, newest first.

        Args:
            filters: Any of which ("live", "ended", "all"), action, source, reason, name, email.
        """
        return self._get("/api/blacklist", Page[ListedEntry], **{**filters, "cursor": cursor, "limit": limit})

    def add_to_blacklist(self, entry: Mapping[str, Any]) -> ListedEntry:
        """
        Add an entry; an equal one that exists is returned.

        Args:
            entry: One of iban, name, email; and any of action ("hold", "block"), reason, note, expires_at.
        """
        return self._post("/api/blacklist", entry, ListedEntry)

    def lift_from_blacklist(self, entry_id: int, *, reason: str, forgives: str | None = None) -> Lifted:
        """
        Lift an entry.

        Args:
            reason: Why; a block needs one.
            forgives: "entry", "disputes" (the default) or "account".
        """
        query = {"reason": reason} if forgives is None else {"reason": reason, "forgives": forgives}
        return _decoded(self._answered("DELETE", f"/api/blacklist/{entry_id}", params=query), Lifted)

    # Bulk orders

    def preview_bulk_order(self, action: str, filters: Mapping[str, str]) -> BulkPreview:
        """
        What an action would do to everything that matches; nothing is changed.

        Args:
            action: "replay", "inquire", "void", "refund", "lift" or "withdraw".
            filters: The parameters of the list, such as {"run": "7"}.
        """
        body = {"action": action, "filters": filters, "dry_run": True}
        return self._post("/api/bulk-orders", body, BulkPreview)

    def order_bulk(
        self,
        action: str,
        filters: Mapping[str, str],
        *,
        reason: str,
        previewed: str | None = None,
        idempotency_key: str | None = None,
    ) -> BulkOrder:
        """
        Do one thing to everything that matches.

        Args:
            action: As for the preview.
            filters: As for the preview.
            reason: Why.
            previewed: Of the preview: rows that began to match later are not part of the order.
        """
        body = {"action": action, "filters": filters, "reason": reason, "previewed": previewed}
        return self._order("/api/bulk-orders", body, BulkOrder, idempotency_key)

    def bulk_orders(self, *, cursor: str | None = None, limit: int = 50) -> Page[BulkOrder]:
        """Bulk orders, newest first."""
        return self._get("/api/bulk-orders", Page[BulkOrder], **_given(locals()))

    def bulk_order(self, bulk_order_id: int) -> BulkOrderDetail:
        """One bulk order with its progress."""
        return self._get(f"/api/bulk-orders/{bulk_order_id}", BulkOrderDetail)

    def bulk_order_items(
        self, bulk_order_id: int, *, cursor: str | None = None, limit: int = 50
    ) -> Page[BulkItem]:
        """The rows of a bulk order with their results, the newest row first."""
        query = {"cursor": cursor, "limit": limit}
        return self._get(f"/api/bulk-orders/{bulk_order_id}/items", Page[BulkItem], **query)

    def stop_bulk_order(self, bulk_order_id: int) -> BulkOrder:
        """End a bulk order behind the batch under way."""
        return self._post(f"/api/bulk-orders/{bulk_order_id}/stop", None, BulkOrder)

    def await_bulk_order(
        self,
        bulk_order_id: int,
        *,
        timeout_s: float = 3_600.0,
        on_progress: Callable[[BulkOrderDetail], None] = lambda _: None,
    ) -> BulkOrderDetail:
        """A bulk order once it has ended."""

        def look() -> BulkOrderDetail | None:
            detail = self.bulk_order(bulk_order_id)
            on_progress(detail)
            return None if detail.order.state == "working" else detail

        return _polled(look, timeout_s=timeout_s, what=f"bulk order {bulk_order_id}")

    # Debtors

    def debtors(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[ListedDebtor]:
        """
        Debtors, newest first.

        Args:
            filters: Any of upload, verdict, name, reference, iban_tail, sort.
        """
        return self._get("/api/debtors", Page[ListedDebtor], **{**filters, "cursor": cursor, "limit": limit})

    def debtor(self, debtor_id: int) -> DebtorResponse:
        """One debtor, with warnings and edits."""
        return self._get(f"/api/debtors/{debtor_id}", DebtorResponse)

    def edit_debtor(
        self,
        debtor_id: int,
        changes: Mapping[str, str | int | None],
        *,
        version: int,
        reason: str,
        collect: bool = False,
    ) -> EditResponse:
        """
        Edit a debtor, and screen it again.

        Args:
            changes: Field to its new value, `None` for none; amounts in minor units.
            version: The debtor's, for which the edit was made.
            collect: Whether it is collected where screening leaves that to a person.
        """
        body = {"version": version, "reason": reason, "changes": dict(changes), "collect": collect}
        return _decoded(self._answered("PATCH", f"/api/debtors/{debtor_id}", json=body), EditResponse)

    # Figures

    def figures(self, by: str = "total", *, basis: str = "cohort", **filters: Any) -> FigurePage:
        """
        Collected, returned, refunded and net, by a dimension.

        Args:
            by: Such as "day", "country", "reason_code" or "upload".
            basis: "cohort" or "cash".
            filters: Any of from, to, account, currency, country, bank, price_band, upload, run.
        """
        return self._get("/api/figures", FigurePage, **{**filters, "by": by, "basis": basis})

    def ageing(self, upload_id: int) -> AgeingPage:
        """What was left of an upload's money at each age, beside earlier uploads."""
        return self._get("/api/figures/ageing", AgeingPage, upload=upload_id)

    def exposed(
        self, *, upload: int | None = None, account: str | None = None, days: int = 90
    ) -> ExposurePage:
        """Money that may still go back, in all, by upload and by day."""
        return self._get("/api/figures/exposure", ExposurePage, **_given(locals()))

    # People, keys, audit

    def me(self) -> Me:
        """Who this key is, and what it may do."""
        return self._get("/api/me", Me)

    def audit(self, *, cursor: str | None = None, limit: int = 50, **filters: Any) -> Page[AuditEntry]:
        """
        Actions of people and programs, newest first.

        Args:
            filters: Any of actor, action, subject, subject_id, from, to.
        """
        return self._get("/api/audit", Page[AuditEntry], **{**filters, "cursor": cursor, "limit": limit})

    def users(self) -> list[ListedUser]:
        """Users by name."""
        return self._get("/api/users", list[ListedUser])

    def add_user(
        self, name: str, *, role: str, accounts: Sequence[str] | None = None, reason: str = ""
    ) -> UserWithPassword:
        """Create a user; the temporary password is in the answer only."""
        body = {"name": name, "role": role, "accounts": accounts, "reason": reason}
        return self._post("/api/users", body, UserWithPassword)

    def change_user(self, user_id: int, *, reason: str = "", **changes: Any) -> ListedUser:
        """
        Change a user.

        Args:
            changes: Any of role, accounts (`None` for all) and enabled.
        """
        body = {**changes, "reason": reason}
        return _decoded(self._answered("PATCH", f"/api/users/{user_id}", json=body), ListedUser)

    def reset_user(self, user_id: int, *, second_factor: bool = False, reason: str = "") -> UserWithPassword:
        """Give a user a new temporary password; with *second_factor* remove the second factor too."""
        body = {"second_factor": second_factor, "reason": reason}
        return self._post(f"/api/users/{user_id}/reset", body, UserWithPassword)

    def api_keys(self) -> list[ApiKey]:
        """API keys, newest first, without those of the environment."""
        return self._get("/api/api-keys", list[ApiKey])

    def add_api_key(
        self,
        name: str,
        *,
        role: str,
        accounts: Sequence[str] | None = None,
        expires_at: str | None = None,
        reason: str = "",
    ) -> KeyWithSecret:
        """Create an API key; the secret is in the answer only."""
        body = {
            "name": name,
            "role": role,
            "accounts": accounts,
            "expires_at": expires_at,
            "reason": reason,
        }
        return self._post("/api/api-keys", body, KeyWithSecret)

    def revoke_api_key(self, key_id: int, *, reason: str = "") -> ApiKey:
        """Revoke an API key; it ends at once."""
        response = self._answered("DELETE", f"/api/api-keys/{key_id}", params={"reason": reason})
        return _decoded(response, ApiKey)

    # Subscribers

    def subscribers(self) -> list[Subscriber]:
        """Other systems to which events are sent, by name."""
        return self._get("/api/subscribers", list[Subscriber])

    def subscriber(self, subscriber_id: int) -> Subscriber:
        """One subscriber, with how much waits for it."""
        return self._get(f"/api/subscribers/{subscriber_id}", Subscriber)

    def add_subscriber(
        self,
        name: str,
        url: str,
        *,
        types: Sequence[str] | None = None,
        accounts: Sequence[str] | None = None,
        after: int | None = None,
        reason: str = "",
    ) -> SubscriberWithSecret:
        """
        Add a subscriber; its secret is in the answer only.

        Args:
            url: https, and a public address.
            types: The events it gets; `None` for all.
            accounts: The gateway accounts whose events it gets; `None` for all.
            after: The event after which it begins, 0 for all stored ones; `None` for new ones only.
        """
        body = {
            "name": name,
            "url": url,
            "types": types,
            "accounts": accounts,
            "after": after,
            "reason": reason,
        }
        return self._post("/api/subscribers", body, SubscriberWithSecret)

    def pause_subscriber(self, subscriber_id: int, *, reason: str = "") -> Subscriber:
        """Send nothing more for now; its events wait."""
        return self._post(f"/api/subscribers/{subscriber_id}/pause", {"reason": reason}, Subscriber)

    def activate_subscriber(self, subscriber_id: int, *, reason: str = "") -> Subscriber:
        """Go on after a pause, or after Tether disabled it."""
        return self._post(f"/api/subscribers/{subscriber_id}/activate", {"reason": reason}, Subscriber)

    def rotate_subscriber(
        self, subscriber_id: int, *, overlap_hours: int = 24, reason: str = ""
    ) -> SubscriberWithSecret:
        """Make a new secret; the former one signs too for *overlap_hours*, 0 to 336."""
        body = {"overlap_hours": overlap_hours, "reason": reason}
        return self._post(f"/api/subscribers/{subscriber_id}/rotate", body, SubscriberWithSecret)

    def replay_subscriber(self, subscriber_id: int, *, reason: str = "", **chosen: Any) -> Replay:
        """
        Send a range of events again, with the same ids.

        Args:
            chosen: One of after and since, at most one of up_to and until, and types.
        """
        body = {**chosen, "reason": reason}
        return self._post(f"/api/subscribers/{subscriber_id}/replay", body, Replay)

    def remove_subscriber(self, subscriber_id: int, *, reason: str = "") -> None:
        """Remove a subscriber; nothing more is sent to it, and its secrets are deleted."""
        self._answered("DELETE", f"/api/subscribers/{subscriber_id}", params={"reason": reason})

    def subscriber_deliveries(
        self, subscriber_id: int, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Delivery]:
        """Deliveries to a subscriber, newest first; *status* is "waiting", "delivered" or "given_up"."""
        query = {"state": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/subscribers/{subscriber_id}/deliveries", Page[Delivery], **query)

    def deliveries_of_event(self, event_id: int) -> list[Delivery]:
        """Which subscribers got an event."""
        return self._get("/api/deliveries", list[Delivery], event_id=event_id)

    def delivery(self, delivery_id: int) -> DeliveryDetail:
        """One delivery with its tries."""
        return self._get(f"/api/deliveries/{delivery_id}", DeliveryDetail)

    def replay_delivery(self, delivery_id: int, *, reason: str = "") -> DeliveryDetail:
        """Send a delivery again, now."""
        return self._post(f"/api/deliveries/{delivery_id}/replay", {"reason": reason}, DeliveryDetail)

    # Recurring collection

    def mandates(
        self, *, account: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[MandateRow]:
        """Mandates, newest first."""
        return self._get("/api/mandates", Page[MandateRow], **_given(locals()))

    def mandate(self, mandate_id: int) -> MandateRow:
        """One mandate."""
        return self._get(f"/api/mandates/{mandate_id}", MandateRow)

    def add_mandate(self, debtor_id: int, *, reference: str, signed_on: str, **more: str) -> MandateRow:
        """
        Add a mandate of a debtor, for the account that the debtor has now.

        Args:
            signed_on: A day such as "2026-03-02".
            more: Any of kind ("recurrent", "one_off") and account.
        """
        body = {**more, "debtor_id": debtor_id, "reference": reference, "signed_on": signed_on}
        return self._post("/api/mandates", body, MandateRow)

    def amend_mandate(self, mandate_id: int, *, signed_on: str, reason: str) -> MandateRow:
        """The debtor has signed for the account that the debtor has now."""
        body = {"signed_on": signed_on, "reason": reason}
        return self._post(f"/api/mandates/{mandate_id}/amend", body, MandateRow)

    def cancel_mandate(self, mandate_id: int, *, reason: str) -> MandateRow:
        """End a mandate, and the schedules that use it."""
        return self._post(f"/api/mandates/{mandate_id}/cancel", {"reason": reason}, MandateRow)

    def plans(
        self, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[CollectionPlan]:
        """Collection plans, newest first."""
        return self._get("/api/collection-plans", Page[CollectionPlan], **_given(locals()))

    def plan(self, plan_id: int) -> PlanDetail:
        """One collection plan, and what waits to be collected."""
        return self._get(f"/api/collection-plans/{plan_id}", PlanDetail)

    def pause_plan(self, plan_id: int, *, reason: str) -> CollectionPlan:
        """After the response nothing of the plan is made, ordered or submitted."""
        return self._post(f"/api/collection-plans/{plan_id}/pause", {"reason": reason}, CollectionPlan)

    def resume_plan(self, plan_id: int) -> CollectionPlan:
        """Go on with a paused plan; due dates that passed meanwhile are missed."""
        return self._post(f"/api/collection-plans/{plan_id}/resume", None, CollectionPlan)

    def end_plan(self, plan_id: int, *, reason: str) -> CollectionPlan:
        """End a plan with all its schedules; open due items are waived."""
        return self._post(f"/api/collection-plans/{plan_id}/end", {"reason": reason}, CollectionPlan)

    def forecast(self, plan_id: int, *, days: int = 90) -> Forecast:
        """What the next days are expected to collect; nothing is changed."""
        return self._get(f"/api/collection-plans/{plan_id}/forecast", Forecast, days=days)

    def schedules(
        self, plan_id: int, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Schedule]:
        """The schedules of a plan, newest first."""
        query = {"status": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/collection-plans/{plan_id}/schedules", Page[Schedule], **query)

    def schedule(self, schedule_id: int) -> ScheduleDetail:
        """One schedule with its mandate and its due items."""
        return self._get(f"/api/schedules/{schedule_id}", ScheduleDetail)

    def pause_schedule(self, schedule_id: int, *, reason: str) -> Schedule:
        """After the response nothing of the schedule is made, ordered or submitted."""
        return self._post(f"/api/schedules/{schedule_id}/pause", {"reason": reason}, Schedule)

    def resume_schedule(self, schedule_id: int) -> Schedule:
        """Go on with a paused schedule; due dates that passed meanwhile are left out."""
        return self._post(f"/api/schedules/{schedule_id}/resume", None, Schedule)

    def end_schedule(self, schedule_id: int, *, reason: str) -> Schedule:
        """End a schedule; open due items are waived."""
        return self._post(f"/api/schedules/{schedule_id}/end", {"reason": reason}, Schedule)

    def due_items(
        self, plan_id: int, *, status: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[DueItem]:
        """The due items of a plan, newest first."""
        query = {"status": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/collection-plans/{plan_id}/due-items", Page[DueItem], **query)

    def recover_due_item(self, due_item_id: int, *, reason: str) -> DueItem:
        """Collect a missed due item."""
        return self._post(f"/api/due-items/{due_item_id}/recover", {"reason": reason}, DueItem)

    def waive_due_item(self, due_item_id: int, *, reason: str) -> DueItem:
        """Do not collect an open due item."""
        return self._post(f"/api/due-items/{due_item_id}/waive", {"reason": reason}, DueItem)

    def pre_notifications(
        self,
        *,
        status: str | None = None,
        upload: int | None = None,
        give_until: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[NoticeResponse]:
        """Pre-notifications, oldest first; *status* is "made", "given" or "withdrawn"."""
        return self._get("/api/pre-notifications", Page[NoticeResponse], **_given(locals()))

    def give_pre_notifications(self, ids: Sequence[int]) -> GivenResponse:
        """State that pre-notifications were given to their debtors; at most 10,000."""
        return self._post("/api/pre-notifications/give", {"ids": ids}, GivenResponse)

    # Requests

    def each(
        self, listing: Callable[..., Page[T]], *, count_max: int | None = None, **filters: Any
    ) -> Iterator[T]:
        """
        The rows of a list, page by page.

        Args:
            listing: A method of this client, such as `client.payments`.
            count_max: Stop after this many rows; `None` for all.
            filters: As the method takes them.
        """
        left, cursor = count_max, None
        while left is None or left > 0:
            limit = PAGE_MAX if left is None else min(left, PAGE_MAX)
            page = listing(cursor=cursor, limit=limit, **filters)
            yield from page.items
            if page.next is None:
                return
            cursor, left = page.next, None if left is None else left - len(page.items)

    def _get(self, path: str, kind: type[T], /, **query: Any) -> T:
        given = {name: value for name, value in query.items() if value is not None}
        return _decoded(self._answered("GET", path, params=given), kind)

    def _post(self, path: str, body: Any, kind: type[T], **more: Any) -> T:
        content = {} if body is None else {"json": body}
        return _decoded(self._answered("POST", path, **content, **more), kind)

    def _order(self, path: str, body: Any, kind: type[T], idempotency_key: str | None) -> T:
        key = idempotency_key or secrets.token_urlsafe(18)
        return _decoded(
            self._answered("POST", path, json=body, headers={"Idempotency-Key": _header(key)}), kind
        )

    def _answered(
        self, method: str, path: str, *, allowed: frozenset[int] = frozenset(), **request: Any
    ) -> httpx.Response:
        """The response, if its status is 2xx or allowed."""
        may_repeat = method == "GET" or "Idempotency-Key" in request.get("headers", {})
        for wait_s in (*_WAITS_S, None) if may_repeat else (None,):
            try:
                response = self._http.request(method, path, **request)
            except httpx.TransportError as exc:
                if wait_s is None:
                    raise _unreachable(self._http, exc) from exc
            else:
                if response.is_success or response.status_code in allowed:
                    return response
                if response.status_code not in {502, 503, 504} or wait_s is None:
                    raise _failed(response)
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a method, without the client."""
    return {name: value for name, value in arguments.items() if name != "self"}


def _plain(order: RunOrder) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.to_builtins(order)
    return body


def _part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _header(value: str) -> str:
    if not value or not value.isascii() or not value.isprintable():
        raise NotAllowed("The key must be printable ASCII without line breaks; check how it was copied.")
    return value


def _decoded(response: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Defective(
            f"{response.request.url.host} answered with something that is not Tether's API; check the address and its version."
        ) from None


def _failed(response: httpx.Response) -> Refused | Unavailable | Defective:
    """The error of a response that is not 2xx."""
    status = response.status_code
    try:
        problem = msgspec.json.decode(response.content)
        detail, code = str(problem["detail"]), str(problem.get("code", ""))
        errors, related = problem.get("errors") or (), problem.get("related")
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        detail, code, errors, related = "", "", (), None
    if status in {401, 403}:
        text = detail or "The key is not valid for this."
        return NotAllowed(text, status=status, code=code, errors=errors, related=related)
    if status in {429, 502, 503, 504}:
        return Unavailable(detail or f"Tether cannot answer now (HTTP {status}); try again later.")
    if 400 <= status < 500 and detail:
        return Refused(detail, status=status, code=code, errors=errors, related=related)
    request_id = response.headers.get("x-request-id", "")
    named = f" (request {request_id})" if request_id.isascii() and request_id else ""
    return Defective(
        detail + named
        if detail
        else f"The address answered HTTP {status}, which is no answer of Tether's API."
    )


def _unreachable(http: httpx.Client, exc: httpx.TransportError) -> Unavailable:
    why = "no answer in time" if isinstance(exc, httpx.TimeoutException) else str(exc) or type(exc).__name__
    return Unavailable(f"Tether cannot be reached at {http.base_url.copy_with(path='/')}: {why}.")


def _polled(look: Callable[[], T | None], *, timeout_s: float, what: str) -> T:
    until, wait_s = time.monotonic() + timeout_s, _POLL_MIN_S
    while (found := look()) is None:
        if time.monotonic() >= until:
            raise Unavailable(f"Waited {timeout_s:g} s for {what}; it goes on without this command.")
        time.sleep(wait_s)
        wait_s = min(wait_s * 1.5, _POLL_MAX_S)
    return found
