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
>>> plain_forms(["M-01", "m 1", "Größe 7", "12.00", None])
['m-1', 'm-1', None, None, None]
>>> plain_forms([]), plain_forms([None])
([], [None])
>>> sentence(a)
'The mandate is also used for another account, in row 2. A mandate belongs to one account: correct the list, or have the debtor sign a new mandate.'

Source: EPC016-06 (SEPA Direct Debit Core rulebook), AT-01 and AT-07: the mandate names the debtor's account, a change is an amendment.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from tether_core.payments.same_debit import is_damaged, plain

__all__ = ["CODE", "MandateUse", "is_same", "of_several_accounts", "plain_forms", "sentence"]

# The problem that is written to a row; see `tether_core.spreadsheet.outcomes`.
CODE: Final = "mandate_of_several_accounts"

# Of lines in lower case: signs with the zeros behind them, zeros that begin a number elsewhere, whole numbers with decimals.
_SIGNS: Final = re.compile(r"[^a-z0-9\n]+(?:0+(?=[0-9]))?")
_ZEROS: Final = re.compile(r"(^|[a-z])0+(?=[0-9])", re.MULTILINE)
_WHOLE: Final = re.compile(r"^[0-9][0-9., ']*[.,]00?$", re.MULTILINE)


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


def plain_forms(mandates: Sequence[str | None]) -> list[str | None]:
    """
    Give the forms by which Postgres looks for rows of the same mandate, of many mandates at once.

    A mandate in ASCII has the form that the function `mandate_key` of the schema makes before it hashes it: letters and digits in lower case, a hyphen
    in place of each run of other characters, no leading zeros of numbers.

    Args:
        mandates: As a file has them; `None` for none.

    Returns:
        A form each; `None` where `mandate_key` has to make it: other characters, numbers with decimals, and mandates without any letter or digit.
    """
    if not mandates:
        return []
    usual = [value if value and value.isascii() and "\n" not in value else "" for value in mandates]
    text = "\n".join(usual).lower()
    forms = _ZEROS.sub(r"\1", _SIGNS.sub("-", text)).split("\n")
    if _WHOLE.search(text):
        forms = ["" if _WHOLE.match(value) else form for value, form in zip(usual, forms, strict=True)]
    return [form.strip("-") or None for form in forms]


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
