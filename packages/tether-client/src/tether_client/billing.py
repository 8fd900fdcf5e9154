"""Billing runs: their options, previews and progress."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from tether_client.connection import Connection, given, polled
from tether_client.pages import Page

__all__ = [
    "BillingRoutes",
    "DebitTotal",
    "Eligibility",
    "LimitStatus",
    "Override",
    "PreviewedDebtor",
    "Refusals",
    "RunDetail",
    "RunOptions",
    "RunOrder",
    "RunPreview",
    "RunResponse",
    "StatementText",
    "Warned",
]

_ENDED: Final = frozenset({"finished", "cancelled", "paused"})


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """
    The options of a billing run, chosen by a person and stored with the run.

    Attributes:
        due_item: What is owed, e.g. "once" or "2026-03": each debtor pays each item once.
        count_max: Debits at most; `None` for no cap.
        amount_max_minor: Money at most, whole minor units; `None` for no cap.
        canary_share: Share of the debits that is sent first and has to go well before the rest follows; 0
            for none.
        debit_min_minor: Least amount of one debit; below ten cents the fee is more.
        debit_max_minor: Largest amount of one debit.
        lifetime_max_minor: What one account may pay in all, pending debits included.
        tries_max: How often one item may be tried by runs.
        recent_days: Days for which a try for another upload prevents a debit of the account; 0 for no
            such window.
        vop_score_min: Least score of the check before billing (`tether_core.vop`); `None` where none is
            demanded.
        usage: The text on the debtor's statement; the debtor's reference follows it.
        merchant_name: The creditor's name on the statement; `None` for the terminal's own.
        remote_ip: The address from which the debtors agreed; some terminals demand one.
        after_chargeback: Whether accounts are billed that charged a debit back before. The blacklist
            holds all the same.
    """

    due_item: str = "once"
    count_max: int | None = None
    amount_max_minor: int | None = None
    canary_share: float = 0.0
    debit_min_minor: int = 10
    debit_max_minor: int | None = None
    lifetime_max_minor: int | None = None
    tries_max: int = 3
    recent_days: int = 7
    vop_score_min: int | None = None
    usage: str = "Collection"
    merchant_name: str | None = None
    remote_ip: str | None = None
    after_chargeback: bool = False


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """
    Verdicts that do not hold for some debtors of a run.

    Attributes:
        verdicts: Codes of `OVERRIDABLE`.
        reason: The reason, for other people.
        debtor_ids: The debtors it is about; `None` for all debtors of the run.
        given_by: The name of the API key it was given with; "" until it is kept.
        given_at: When; `None` until it is kept.
    """

    verdicts: list[str | Any]
    reason: str
    debtor_ids: list[int] | None = None
    given_by: str = ""
    given_at: datetime | None = None


class RunResponse(msgspec.Struct, frozen=True, kw_only=True):
    """
    A billing run.

    Attributes:
        id: The run.
        upload_id: The upload with its debtors.
        account: The gateway account.
        state: See docs/concepts/billing.md.
        options: Its options.
        count: Debits planned so far.
        amount_minor: Total of the planned debits.
        skipped: Debtors not billed, by verdict.
        warning: The warning of the auto-pause, or null.
        pause_reason: Why it is paused, or null.
        created_by: The name of the key that ordered it.
        created_at: When it was ordered.
        updated_at: When it last changed.
        finished_at: When its last debit had ended, or null.
        again: Whether it bills a due item of its upload again: only debtors who have no open, collected,
            returned, refunded or voided debit for it.
        overrides: Verdicts that a person has overridden, with who, when and why.
        awaits_release: Whether it waits for a second person, who resumes it; who ordered it cannot.
        released_by: The second person who released it, or null.
    """

    id: int
    upload_id: int
    account: str
    state: str
    options: RunOptions
    count: int
    amount_minor: int
    skipped: dict[str, int]
    warning: str | None
    pause_reason: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    again: bool
    overrides: list[Override]
    awaits_release: bool
    released_by: str | None


class DebitTotal(msgspec.Struct, frozen=True, kw_only=True):
    """
    Count and total of some debits.

    Attributes:
        count: Number of debits.
        amount_minor: Their total.
    """

    count: int
    amount_minor: int


class Refusals(msgspec.Struct, frozen=True, kw_only=True):
    """
    The gateway's refusals of a run.

    Attributes:
        run_id: The run.
        answered: Debits that the gateway has accepted or refused.
        refused: Debits among them that were declined or ended in an error.
        refused_at: When the last refusal was recorded, or null.
        released_at: When a person last released the refusals, or null; the counts restart from then.
        released_by: The name of that person's key, or null.
        released_reason: Why they were released, or null.
    """

    run_id: int
    answered: int
    refused: int
    refused_at: datetime | None
    released_at: datetime | None
    released_by: str | None
    released_reason: str | None


class LimitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """
    The current limits of an account, for display.

    Attributes:
        account: The account.
        breaker: "closed", "open" or "half_open"; "unknown" while Redis is unavailable.
        calls: Calls that ended recently, while it is closed.
        failures: Of these, failed.
        open_for_s: While it is open: seconds until the next probe; 0.0 otherwise.
        opened_in_row: Times it opened since it was last closed.
        left: Calls that could be made at once, by place of the share and in the common pool last; empty
            without recent calls.
        rate_part: The part of its rate that may be used after HTTP 429; 1.0 for all of it, 0.0 during a
            pause.
        paused_for_s: Seconds to the end of a pause that the gateway requested.
    """

    account: str
    breaker: str
    calls: int = 0
    failures: int = 0
    open_for_s: float = 0.0
    opened_in_row: int = 0
    left: list[float] = []
    rate_part: float = 1.0
    paused_for_s: float = 0.0


class RunDetail(msgspec.Struct, frozen=True, kw_only=True):
    """
    A billing run and its progress.

    Attributes:
        run: The run.
        steps: Its debits by step of their submission: ready, submitting, unknown, ended.
        states: Its debits by state; together they are the planned debits.
        refusals: The gateway's refusals so far.
        gateway: Rate limit and circuit breaker of its account.
    """

    run: RunResponse
    steps: dict[str, DebitTotal]
    states: dict[str, DebitTotal]
    refusals: Refusals
    gateway: LimitStatus


class Eligibility(msgspec.Struct, frozen=True, kw_only=True):
    """
    Whether one debtor may be billed.

    Attributes:
        code: "billable", or a key of `VERDICTS`.
        text: The facts behind it, as a sentence; "" for "billable".
    """

    code: str
    text: str = ""


class StatementText(msgspec.Struct, frozen=True):
    """
    A stored text of bank statements.

    Attributes:
        account: The gateway account; "" for all.
        month: Such as "2026-12"; "" for all.
        text: What debtors read on their statements.
        written_by: Who wrote it.
        written_at: When.
    """

    account: str
    month: str
    text: str
    written_by: str
    written_at: datetime


class PreviewedDebtor(msgspec.Struct, frozen=True, kw_only=True):
    """
    One debtor of a preview.

    Attributes:
        debtor_id: The debtor.
        iban_masked: The account, masked.
        amount_minor: The amount to be debited.
        currency: ISO 4217.
        verdict: "billable", or why not; see docs/concepts/billing.md.
        text: The facts behind the verdict.
        canary: Whether the debit would be one of the canaries, which are submitted first.
        reasons: All verdicts against billing; `verdict` is the first of them, or a cap of the run.
    """

    debtor_id: int
    iban_masked: str
    amount_minor: int
    currency: str
    verdict: str
    text: str
    canary: bool
    reasons: list[Eligibility]


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """
    Debits of the same debtors under another due item.

    Attributes:
        code: "spelling" where the other item reads like this one, so that it is the same debt; else
            "name"; "billed" where a collection plan is asked about.
        due_item: The other item.
        debtors: How many of the debtors that would be billed, or enrolled, have an open or collected debit for it.
        amount_minor: The money of these debits, whole minor units.
        text: What to look at.
    """

    code: str
    due_item: str
    debtors: int
    amount_minor: int
    text: str


class RunPreview(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a run would do; nothing was changed.

    Attributes:
        count: Debits it would make.
        amount_minor: Total of these debits.
        canaries: Debits among them that would be submitted first.
        skipped: Debtors it would not bill, by verdict.
        warnings: Debits of the same debtors under another spelling or name of the due item.
        ordered_before: Why an order would be refused because of an earlier run of the upload, or null.
        preflight: What the debits are expected to bring and to cost, as `Preflight.report`; null where that is not known.
        debtors: One page of the debtors, in the order of their rows.
        next: The `cursor` of the next page; null on the last one.
    """

    count: int
    amount_minor: int
    canaries: int
    skipped: dict[str, int]
    warnings: list[Warned]
    ordered_before: str | None
    debtors: list[PreviewedDebtor]
    next: str | None
    preflight: dict[str, Any] | None = None


class RunOrder(msgspec.Struct, frozen=True, kw_only=True):
    """
    An order for a billing run; what is not set has the default of the server.

    Attributes:
        due_item: What the debtors owe once, such as "2026-03".
        account: The gateway account.
        again: Order the same due item of the same upload again after the previous run has ended.
        count_max: At most this many debits.
        amount_max_minor: At most this total, in minor units.
        canary_share: The part that is submitted first, 0 to 1.
        debit_min_minor: Leave out debits below this amount.
        debit_max_minor: Leave out debits above this amount.
        usage: The text on the debtors' bank statements.
        notice_days: Debit only debtors who were notified so many days before.
        lifetime_max_minor: What one account may pay in all, in minor units.
        tries_max: How often one due item may be tried.
        recent_days: Days for which a try for another upload prevents a debit of the account.
        vop_score_min: The least score of the check before billing.
        merchant_name: The creditor's name on the bank statements.
        remote_ip: The address from which the debtors agreed.
        overrides: Verdicts to ignore: each with `verdicts`, `reason` and, where wanted, `debtor_ids`.
    """

    due_item: str | msgspec.UnsetType = msgspec.UNSET
    account: str | msgspec.UnsetType = msgspec.UNSET
    again: bool | msgspec.UnsetType = msgspec.UNSET
    count_max: int | msgspec.UnsetType = msgspec.UNSET
    amount_max_minor: int | msgspec.UnsetType = msgspec.UNSET
    canary_share: float | msgspec.UnsetType = msgspec.UNSET
    debit_min_minor: int | msgspec.UnsetType = msgspec.UNSET
    debit_max_minor: int | msgspec.UnsetType = msgspec.UNSET
    usage: str | msgspec.UnsetType = msgspec.UNSET
    notice_days: int | msgspec.UnsetType = msgspec.UNSET
    lifetime_max_minor: int | msgspec.UnsetType = msgspec.UNSET
    tries_max: int | msgspec.UnsetType = msgspec.UNSET
    recent_days: int | msgspec.UnsetType = msgspec.UNSET
    vop_score_min: int | msgspec.UnsetType = msgspec.UNSET
    merchant_name: str | msgspec.UnsetType = msgspec.UNSET
    remote_ip: str | msgspec.UnsetType = msgspec.UNSET
    overrides: list[dict[str, Any]] | msgspec.UnsetType = msgspec.UNSET


class BillingRoutes(Connection):
    """Routes of billing runs."""

    def statement_texts(self) -> list[StatementText]:
        """Texts of bank statements by account and month."""
        return self._get("/api/statement-texts", list[StatementText])

    def store_statement_text(self, text: str, *, account: str = "", month: str = "") -> list[StatementText]:
        """Store the text of an account and month, "" for all; returns all texts."""
        body = {"text": text, "account": account, "month": month}
        return self._put("/api/statement-texts", body, list[StatementText])

    def remove_statement_text(self, *, account: str = "", month: str = "") -> list[StatementText]:
        """Remove the text of an account and month; returns those that are left."""
        return self._delete("/api/statement-texts", list[StatementText], account=account, month=month)

    def preview_run(self, upload_id: int, order: RunOrder, *, limit: int = 100) -> RunPreview:
        """What a run of an upload would do; nothing is changed."""
        body = {**msgspec.to_builtins(order), "dry_run": True}
        return self._post(f"/api/uploads/{upload_id}/billing", body, RunPreview, params={"limit": limit})

    def order_run(
        self, upload_id: int, order: RunOrder, *, idempotency_key: str | None = None
    ) -> RunResponse:
        """Order a billing run of an upload. The same *idempotency_key* gives the same run."""
        body = msgspec.to_builtins(order)
        return self._order(f"/api/uploads/{upload_id}/billing", body, RunResponse, idempotency_key)

    def release_refusals(self, upload_id: int, *, reason: str) -> list[Refusals]:
        """Release the gateway's refusals of an upload's runs, so that they do not pause its next run; returns the runs that had some."""
        path = f"/api/uploads/{upload_id}/billing/release"
        return self._post(path, {"reason": reason}, list[Refusals])

    def runs(
        self,
        *,
        status: str | None = None,
        upload: int | None = None,
        account: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[RunResponse]:
        """Billing runs, newest first."""
        return self._get("/api/billing-runs", Page[RunResponse], **given(locals()))

    def run(self, run_id: int) -> RunDetail:
        """One run and its progress."""
        return self._get(f"/api/billing-runs/{run_id}", RunDetail)

    def pause_run(self, run_id: int, *, reason: str) -> RunResponse:
        """Pause a run: after the response no further submission begins."""
        return self._post(f"/api/billing-runs/{run_id}/pause", {"reason": reason}, RunResponse)

    def resume_run(self, run_id: int, *, reason: str = "") -> RunResponse:
        """Let a paused run go on, or release one as the second person."""
        path = f"/api/billing-runs/{run_id}/resume"
        return self._post(path, None, RunResponse, params={"reason": reason})

    def cancel_run(self, run_id: int, *, reason: str = "") -> RunResponse:
        """End a run: what was not submitted stays so."""
        path = f"/api/billing-runs/{run_id}/cancel"
        return self._post(path, None, RunResponse, params={"reason": reason})

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

        return polled(look, timeout_s=timeout_s, what=f"run {run_id} to end")
