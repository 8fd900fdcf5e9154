"""Pre-flight reports of uploads."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tether_client.connection import Connection

__all__ = ["Preflight", "PreflightRoutes", "Verified"]


class Preflight(msgspec.Struct, frozen=True):
    """
    A pre-flight report with its signature.

    Attributes:
        id: The report.
        report: What is signed, as JSON: verdict, reasons, and what is expected by currency.
        signature: HMAC-SHA-256 of the report; `None` where the installation has no TETHER_SECRETS_KEY.
    """

    id: int
    report: dict[str, Any]
    signature: str | None

    @property
    def verdict(self) -> str:
        """What the rule says: "go", "no_go", "unknown" or "no_rule"."""
        return str(self.report.get("verdict"))


class Verified(msgspec.Struct, frozen=True):
    """
    What is known of a report.

    Attributes:
        verified: Whether a key of the installation signed exactly this report.
        stored: Whether exactly this report is stored.
        verdict: What the report says.
    """

    verified: bool
    stored: bool
    verdict: str


class PreflightRoutes(Connection):
    """Routes of pre-flight reports."""

    def make_preflight(
        self, upload_id: int, *, account: str = "default", vop_score_min: int | None = None
    ) -> Preflight:
        """
        Make a pre-flight report: what the debits of an upload are expected to bring and to cost.

        Args:
            vop_score_min: The least score of the check before billing that the run will demand, 0 to 100; `None` where it demands none.
        """
        order = {"account": account} | ({} if vop_score_min is None else {"vop_score_min": vop_score_min})
        return self._post(f"/api/uploads/{upload_id}/preflight", order, Preflight)

    def preflight(self, upload_id: int) -> Preflight:
        """The last pre-flight report of an upload."""
        return self._get(f"/api/uploads/{upload_id}/preflight", Preflight)

    def preflight_page(self, report_id: int) -> str:
        """A pre-flight report as a page for people, in Markdown; it is not signed."""
        return b"".join(self._pieces(f"/api/preflight-reports/{report_id}", format="markdown")).decode()

    def verify_preflight(self, report: Mapping[str, Any]) -> Verified:
        """Whether a report with its signature, as `preflight` returns it, is one of this installation and unchanged."""
        return self._post("/api/preflight-reports/verify", dict(report), Verified)
