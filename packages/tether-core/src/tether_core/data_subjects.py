"""
Data subjects: which rows are about one person.

A debtor is a row of a file, and a person who pays each month is a row of each month's file. An access request or an erasure is about the
person, so it covers all rows with the same account under the same name. Two people may share an account, and many people share a name. So
these rows are only related: a person decides whether to include them, by an export or an erasure of their own.

>>> anna = SubjectRow(7, "Schmidt, Anna", has_account=True)
>>> rows = [anna, SubjectRow(9, "anna schmidt", has_account=True), SubjectRow(11, "Ben Schmidt", has_account=True)]
>>> found = of_one_person(anna, [*rows, SubjectRow(12, "Anna Schmidt", has_account=False)])
>>> found.debtor_ids
(7, 9)
>>> [(row.debtor_id, row.why) for row in found.related]
[(11, 'same_account'), (12, 'same_name')]
>>> names_person("letter of Mrs SCHMIDT of 2 March", "Schmidt, Anna"), names_person("letter of 2 March", "Schmidt, Anna")
(True, False)
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from tether_core.blacklist import name_key
from tether_core.errors import InvalidRequest

__all__ = ["ROWS_MAX", "Related", "RelatedWhy", "Subject", "SubjectRow", "names_person", "of_one_person"]

# One file a week for nineteen years.
ROWS_MAX: Final = 1_000
# Shorter words of a name, such as "Van" or "Li", are ordinary words, too.
_WORD_LENGTH_MIN: Final = 4

RelatedWhy: TypeAlias = Literal["same_account", "same_name"]


class SubjectRow(msgspec.Struct, frozen=True):
    """
    A debtor that may be about the same person as another one.

    Attributes:
        debtor_id: The row.
        name: Its name; "" once it is erased.
        has_account: Whether it has, or had before an edit, an account of the other one.
    """

    debtor_id: int
    name: str
    has_account: bool


class Related(msgspec.Struct, frozen=True):
    """
    A debtor that is not included, because it may be another person.

    Attributes:
        debtor_id: The debtor.
        why: "same_account" under another name, or "same_name" with another account.
    """

    debtor_id: int
    why: RelatedWhy


class Subject(msgspec.Struct, frozen=True):
    """
    The rows about one person.

    Attributes:
        debtor_ids: The debtors that are included, in the order of their ids.
        related: Those that may be the same person.
    """

    debtor_ids: tuple[int, ...]
    related: tuple[Related, ...]


def of_one_person(chosen: SubjectRow, rows: Iterable[SubjectRow]) -> Subject:
    """
    The rows about the person of one debtor.

    Args:
        chosen: The debtor that was named.
        rows: All debtors with its account, and some with its name.

    Raises:
        InvalidRequest: when there are more than `ROWS_MAX`: an account of all debtors is a placeholder, not a person.
    """
    key = name_key(chosen.name)
    included, related = {chosen.debtor_id}, dict[int, Related]()
    for row in rows:
        if row.debtor_id == chosen.debtor_id or not row.name:
            continue
        if row.has_account and name_key(row.name) == key:
            included.add(row.debtor_id)
        elif row.has_account:
            related[row.debtor_id] = Related(row.debtor_id, "same_account")
        elif name_key(row.name) == key:
            related[row.debtor_id] = Related(row.debtor_id, "same_name")
    if len(included) > ROWS_MAX:
        raise InvalidRequest(
            f"more than {ROWS_MAX:,} debtors have this account and name; correct the account of those that are somebody else",
            field="debtor_id",
        )
    return Subject(tuple(sorted(included)), tuple(related[row_id] for row_id in sorted(related)))


def names_person(text: str, name: str) -> bool:
    """
    Whether a text has a word of a name that identifies somebody.

    Args:
        text: What a person wrote; case and punctuation do not matter.
        name: A debtor's; "" names nobody.
    """
    words = name_key(text).split()
    return any(len(word) >= _WORD_LENGTH_MIN and word in words for word in name_key(name).split())
