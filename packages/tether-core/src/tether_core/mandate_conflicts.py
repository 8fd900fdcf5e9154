"""
Mandates that are used for several accounts.

A mandate is the permission of one debtor to collect from one account. When the debtor changes the account, the mandate is amended
or replaced; a list that has one mandate for two accounts has a typing error, a shifted column or a placeholder, and the debtor's bank
returns the debit for the missing mandate within thirteen months. Tether cannot know which row is right, so each of them carries a warning that
people see before they bill.

Mandates are compared in the plain form of `tether_core.payments.same_debit`; a long number damaged by a spreadsheet program is not compared.
Against earlier uploads only the latest row of a mandate counts, so a change of account is warned of once.

>>> a, b = MandateUse(2, "M-01", b"a"), MandateUse(3, "m 1", b"b")
>>> [(use.row, other.row) for use, other in of_several_accounts([a, b])]
[(2, 3), (3, 2)]
>>> is_same("M-1", "M-2"), is_same("1.23E+11", "1.23E+11")
(False, False)
>>> sentence(a)
'The mandate is also used for another account, in row 2. A mandate belongs to one account: correct the list, or have the debtor sign a new mandate.'

Source: EPC016-06 (SEPA Direct Debit Core rulebook), AT-01 and AT-07: the mandate names the debtor's account, a change is an amendment.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import msgspec

from tether_core.payments.same_debit import is_damaged, plain

__all__ = ["CODE", "MandateUse", "is_same", "of_several_accounts", "sentence"]

# The problem that is written to a row; see `tether_core.spreadsheet.outcomes`.
CODE: Final = "mandate_of_several_accounts"


class MandateUse(msgspec.Struct, frozen=True):
    """
    A row that has a mandate.

    Attributes:
        row: Its number in its file; `None` for a debit of another system.
        mandate_id: As the file has it.
        account: The fingerprint of the account.
        upload_id: The upload it came with; `None` for the file that is read, or for another system.
    """

    row: int | None
    mandate_id: str
    account: bytes
    upload_id: int | None = None


def is_same(first: str, second: str) -> bool:
    """
    Whether two mandates are one, however they are written.

    Args:
        first: As a file has it.
        second: Likewise.

    Returns:
        Never for blank or damaged ones.
    """
    key = plain(first)
    return bool(key) and not is_damaged(key) and key == plain(second)


def of_several_accounts(uses: Iterable[MandateUse]) -> list[tuple[MandateUse, MandateUse]]:
    """
    Find the rows of a file whose mandate is used for another account, too.

    Args:
        uses: Rows of the file.

    Returns:
        Each such row with the first row of the other account, in the order given.
    """
    by_mandate: defaultdict[str, list[MandateUse]] = defaultdict(list)
    for use in uses:
        key = plain(use.mandate_id)
        if key and not is_damaged(key):
            by_mandate[key].append(use)
    found = list[tuple[MandateUse, MandateUse]]()
    for some in by_mandate.values():
        first = some[0]
        second = next((use for use in some if use.account != first.account), None)
        if second is not None:
            found += [(use, second if use.account == first.account else first) for use in some]
    return found


def sentence(other: MandateUse) -> str:
    """
    Say what is the case and who must do what.

    Args:
        other: The row of the other account.

    Returns:
        Two sentences.
    """
    where = "a debit of another system" if other.row is None else f"row {other.row:,}"
    if other.upload_id is not None:
        where = f"{where} of upload {other.upload_id}"
    verb = "was used" if other.upload_id is not None or other.row is None else "is also used"
    return (
        f"The mandate {verb} for another account, in {where}. A mandate belongs to one account: correct the list, or have the debtor "
        "sign a new mandate."
    )
