"""Verification of payee: checks of accounts before they are billed, and what the provider's calls cost."""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from tether_client.connection import Connection
from tether_client.pages import Page

__all__ = [
    "BankReport",
    "CheckFile",
    "ListedCheck",
    "ListedFileRow",
    "NameCounts",
    "RestingBank",
    "SpentCalls",
    "UploadCheck",
    "VopBudget",
    "VopChecks",
    "VopReport",
    "VopRequested",
    "VopRoutes",
]


class ListedCheck(msgspec.Struct, frozen=True, kw_only=True):
    """
    A check of an account.

    Attributes:
        debtor_id: Whose account.
        state: "waiting", "checked" or "parked".
        provider: Who answered.
        score: How well all answers fit, in whole percent.
        answered: The share of answered questions, in whole percent.
        result: What the score means.
        iban: Whether the IBAN is one.
        bank: Whether its bank is known.
        debit: Whether the bank takes direct debits.
        country: Whether the country is in reach.
        name: Whether the name is that of the account.
        bank_name: The bank's name.
        bic: The bank's BIC.
        requested_at: When it was requested.
        checked_at: When it was answered.
    """

    debtor_id: int
    state: str
    provider: str | None
    score: int | None
    answered: int | None
    result: str | None
    iban: str | None
    bank: str | None
    debit: str | None
    country: str | None
    name: str | None
    bank_name: str | None
    bic: str | None
    requested_at: datetime
    checked_at: datetime | None


class UploadCheck(ListedCheck, frozen=True, kw_only=True):
    """
    A check in a list of all uploads.

    In addition to `ListedCheck`:

    Attributes:
        upload_id: The upload of the debtor.
        account: The gateway account whose budget pays for it.
    """

    upload_id: int
    account: str


class VopRequested(msgspec.Struct, frozen=True, kw_only=True):
    """
    The requested checks.

    Attributes:
        requested: Accounts that will be checked; the others are checked or waiting already.
    """

    requested: int


class VopChecks(msgspec.Struct, frozen=True, kw_only=True):
    """
    The checks of an upload.

    Attributes:
        unrequested: Debtors without a requested check.
        waiting: Checks that are due.
        parked: Checks without a response of the provider for a day; request them again.
        results: Finished checks, by result.
        checks: One page of checks, in the order of debtors.
    """

    unrequested: int
    waiting: int
    parked: int
    results: dict[str, int]
    checks: Page[ListedCheck]


class NameCounts(msgspec.Struct, frozen=True, kw_only=True):
    """
    Finished checks by what was answered about the name.

    Attributes:
        match: The name fits (MTCH).
        near: It nearly fits (CMTC).
        none: It does not fit (NMTC).
        not_available: Nobody could answer (NOAP).
    """

    match: int
    near: int
    none: int
    not_available: int


class BankReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The finished checks at one bank.

    Attributes:
        bank: The first eight characters of its BIC; null for all whose bank nobody knows.
        bank_name: For people, or null.
        names: What was answered about the names.
    """

    bank: str | None
    bank_name: str | None
    names: NameCounts


class VopReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    The finished checks of an upload.

    Attributes:
        names: What was answered about the names.
        reused: Of these, how many took over an earlier answer about the same account and name.
        banks: The hundred banks with the most checks.
    """

    names: NameCounts
    reused: int
    banks: list[BankReport]


class SpentCalls(msgspec.Struct, frozen=True, kw_only=True):
    """
    Calls of the provider that an account has caused.

    Attributes:
        account: The gateway account.
        day_calls: Today, UTC.
        month_calls: This month, today included.
    """

    account: str
    day_calls: int
    month_calls: int


class RestingBank(msgspec.Struct, frozen=True, kw_only=True):
    """
    A bank that the provider is not asked about for a while, because it did not answer.

    Attributes:
        bank: The first eight characters of its BIC.
        rest_until: When it is asked about again.
    """

    bank: str
    rest_until: datetime


class VopBudget(msgspec.Struct, frozen=True, kw_only=True):
    """
    Calls of the provider, and their limits.

    Attributes:
        is_metered: Whether a service is called (`TETHER_VOP_URL`); the built-in provider makes no calls.
        day_max: Calls that one gateway account may cause on a day, UTC; null for no limit.
        month_max: The same in a calendar month; null for no limit.
        reuse_days: For how many days an answer is taken over; 0 for never.
        calls: Calls of this day and month by gateway account. Where there is no limit, calls are not counted.
        resting: Banks that did not answer lately, so that the service is not asked about them for a day.
    """

    is_metered: bool
    day_max: int | None
    month_max: int | None
    reuse_days: int
    calls: list[SpentCalls]
    resting: list[RestingBank]


class CheckFile(msgspec.Struct, frozen=True, kw_only=True):
    """
    A file of accounts and names that are checked without becoming debtors.

    Attributes:
        id: Its row.
        account: The gateway account whose budget pays for the calls.
        row_count: Its rows.
        created_by: Who sent it.
        created_at: When it came; it is removed 30 days later.
        checked: Rows with a result.
        parked: Rows that the provider did not answer for a day.
    """

    id: int
    account: str
    row_count: int
    created_by: str
    created_at: datetime
    checked: int
    parked: int


class ListedFileRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    A row of a check file; the account is masked.

    Attributes:
        row_number: From 1, the header included.
        iban_masked: First and last four characters.
        name: As it was sent.
        state: "waiting", "checked" or "parked".
        result: What the score means; `None` before.
        score: How well all answers fit, in whole percent.
        name_match: "match", "near", "none" or "not_available"; `None` before.
        name_percent: How well a near name fits.
        bank_name: The bank's name.
        bic: The bank's BIC.
        provider: Who answered.
        is_reused: Whether an earlier answer about the same account and name was taken over.
        checked_at: When it was answered.
    """

    row_number: int
    iban_masked: str
    name: str
    state: str
    result: str | None
    score: int | None
    name_match: str | None
    name_percent: int | None
    bank_name: str | None
    bic: str | None
    provider: str | None
    is_reused: bool
    checked_at: datetime | None


class VopRoutes(Connection):
    """Routes of checks."""

    def check_files(self) -> list[CheckFile]:
        """Check files, newest first."""
        return self._get("/api/vop/files", list[CheckFile])

    def check_file(self, file_id: int) -> CheckFile:
        """One check file and its progress."""
        return self._get(f"/api/vop/files/{file_id}", CheckFile)

    def send_check_file(self, content: bytes, *, account: str = "default") -> CheckFile:
        """Send CSV of IBANs and names, which are checked without becoming debtors."""
        headers = {"Content-Type": "text/csv"}
        return self._post(
            "/api/vop/files", None, CheckFile, content=content, headers=headers, params={"account": account}
        )

    def check_file_rows(
        self,
        file_id: int,
        *,
        result: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ListedFileRow]:
        """The rows of a check file in their order, account numbers masked."""
        query = {"result": result, "status": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/vop/files/{file_id}/rows", Page[ListedFileRow], **query)

    def check_file_report(self, file_id: int) -> VopReport:
        """What was answered about the names of a check file, by bank."""
        return self._get(f"/api/vop/files/{file_id}/report", VopReport)

    def check_file_result(self, file_id: int) -> Iterator[bytes]:
        """The rows of a check file with their results as CSV, in pieces as they come."""
        return self._pieces(f"/api/vop/files/{file_id}/result")

    def remove_check_file(self, file_id: int) -> CheckFile:
        """Remove a check file with its results; returns it as it was."""
        return self._delete(f"/api/vop/files/{file_id}", CheckFile)

    def request_checks(
        self, upload_id: int, *, again: bool = False, share: float = 1.0, account: str = "default"
    ) -> VopRequested:
        """
        Request checks of an upload's accounts.

        Args:
            again: Also those that were checked before; the provider may charge for each.
            share: Above 0, up to 1: of the debtors.
            account: The gateway account whose budget pays for the calls.
        """
        params = {"again": again, "share": share, "account": account}
        return self._post(f"/api/uploads/{upload_id}/vop", None, VopRequested, params=params)

    def checks(
        self,
        upload_id: int,
        *,
        result: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> VopChecks:
        """The checks of an upload: counts, and one page in the order of debtors."""
        query = {"result": result, "status": status, "cursor": cursor, "limit": limit}
        return self._get(f"/api/uploads/{upload_id}/vop", VopChecks, **query)

    def checks_everywhere(
        self,
        *,
        result: str | None = None,
        status: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[UploadCheck]:
        """The checks of all uploads, the newest debtors first."""
        query = {"result": result, "status": status, "cursor": cursor, "limit": limit}
        return self._get("/api/vop/checks", Page[UploadCheck], **query)

    def checks_report(self, upload_id: int) -> VopReport:
        """What was answered about the names of an upload, by bank."""
        return self._get(f"/api/uploads/{upload_id}/vop/report", VopReport)

    def checks_budget(self) -> VopBudget:
        """Calls of the provider on this day and in this month, their limits, and the banks that rest."""
        return self._get("/api/vop/budget", VopBudget)
