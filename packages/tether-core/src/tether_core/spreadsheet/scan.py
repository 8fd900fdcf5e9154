"""
Scan: facts about a table that need all of its rows.

One row in a million may be a credit, so the guards of a plan check every row, not a sample. The scan takes a thousand rows at a time, column
by column, and keeps counts only: the words of columns that have few, whether there is one account for many
names, where a column is empty and another one has the value, and the row in which a second table begins.

>>> from tether_core.spreadsheet.plan import Column
>>> scan = Scan((Column(0, "Name", "name"), Column(1, "IBAN", "iban"), Column(2, "S/H")), fallbacks={})
>>> scan.add([Row(2, ["Ann", "DE89370400440532013000", "S"]), Row(3, ["Ben", "DE02120300000000202051", "H"])])
>>> dict(scan.words[2]), scan.rows
({'S': 1, 'H': 1}, 2)
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from typing import Final

from tether_core.spreadsheet.account_cell import accounts_in
from tether_core.spreadsheet.cells import Row
from tether_core.spreadsheet.currencies import currency_of
from tether_core.spreadsheet.fallbacks import has_value
from tether_core.spreadsheet.header_words import count_ibans, named_fields, plain, word_matches
from tether_core.spreadsheet.person_names import PLACEHOLDERS, clean
from tether_core.spreadsheet.plan import Column
from tether_core.spreadsheet.selection import WORDS_MAX, credits_in, may_have_left

__all__ = ["Scan", "scan_rows"]

_BATCH_ROWS: Final = 1_000
# Spellings of one word differ by blanks and marks that nobody sees.
_SPELLINGS_MAX: Final = 4 * WORDS_MAX
# A direction or a way of payment is written in columns of its own, or of texts whose header merely resembles a field's.
_WORDED: Final = frozenset(
    {None, "description", "sepa_type", "reference", "customer_id", "mandate_id", "national_id", "street"}
    | {"house_number", "address", "apartment", "door", "floor"}
)
_NO_TEXT: Final = frozenset({"iban", "amount", "amount_minor", "currency", "name", "first_name", "last_name"})
_AMOUNT: Final = re.compile(r"[-+(]?\s*(?:EUR|€)?\s*[-+]?[\d.,]", re.IGNORECASE)
# Rows without account and amount are looked at for words of headers, which takes time.
_SUSPECTS_MAX: Final = 20_000
# An account for this many people, in a batch of rows, may be that of a family; for this many it is none. At most so many are noted.
_SHARED_MIN: Final = 3
_PEOPLE_MAX: Final = 12
_SHARED_MAX: Final = 200


class _SharedAccount:
    """An account that several rows name."""

    def __init__(self, first_row: int) -> None:
        self.first_row = first_row
        self.rows = 0
        self.names: set[str] = set()


class Scan:
    """
    What the rows of a table show, gathered batch by batch.

    Attributes:
        rows: Rows that name an account.
        words: Position to its words and their rows, of columns that have few; blank cells under an empty word.
        credits: Position to rows whose text is a word for a credit, the first one and its text, of columns that have many words.
        own_account: How many rows name an account that stands above the table, and the first one.
        filled: Position to rows with a value, of columns whose header names rows that are not due.
        stands_in: (Field, position of the fallback) to the number of rows in which it has the value, and the first one.
        differs: (Position, position) to the first row in which both columns have a value and it is not the same.
        placeholders: Position to rows whose cell means "no value".
        second_table: The row in which a table with other columns begins; 0 where none does.
        unit_note: The first row without account and amount that names another currency, and its text.
    """

    def __init__(
        self, columns: Sequence[Column], *, fallbacks: Mapping[str, Sequence[int]], above: Sequence[str] = ()
    ) -> None:
        at = {column.field: column.position for column in columns if column.field}
        self.rows = 0
        self.words: dict[int, Counter[str]] = {
            column.position: Counter() for column in columns if column.field in _WORDED
        }
        self.credits: dict[int, tuple[int, int, str]] = {}
        self.own_account: tuple[int, int] | None = None
        self._texts_of_rows = [
            column.position for column in columns if column.field in {None, "description", "reference"}
        ]
        self.filled = Counter[int]()
        self.stands_in: dict[tuple[str, int], tuple[int, int]] = {}
        self.differs: dict[tuple[int, int], int] = {}
        self.placeholders = Counter[int]()
        self.second_table = 0
        self.unit_note: tuple[int, str] | None = None
        self._columns = columns
        self._width = len(columns)
        self._iban_at = at.get("iban", -1)
        self._amount_at = at.get("amount", at.get("amount_minor", -1))
        self._name_at = at.get("name", at.get("last_name", -1))
        self._own_header = columns[self._iban_at].header.strip() if self._iban_at >= 0 else ""
        self._marks = [
            column.position for column in columns if column.field is None and may_have_left(column.header)
        ]
        self._texts = [place for field, place in at.items() if field not in _NO_TEXT]
        self._ibans: set[str] = set()
        self._names: set[str] = set()
        self._shared: dict[str, _SharedAccount] = {}
        self._fallbacks = [(field, at[field], others) for field, others in fallbacks.items() if field in at]
        self._suspects = 0
        self._own_accounts = frozenset(chain.from_iterable(map(accounts_in, above)))

    @property
    def one_account(self) -> bool:
        """Whether all rows name the same account."""
        return len(self._ibans) == 1

    @property
    def several_names(self) -> bool:
        """Whether the rows name several people."""
        return len(self._names) > 1

    @property
    def shared_account(self) -> tuple[int, int, int] | None:
        """
        Rows, people and first row of an account that many rows name: half of them, or those of many people.

        A family or a company pays for some people; a column that was filled down names one account for a stretch of the list.
        """
        most = max(self._shared.values(), key=lambda item: (len(item.names), item.rows), default=None)
        if most is None or len(most.names) < _SHARED_MIN:
            return None
        if 2 * most.rows < self.rows and len(most.names) < _PEOPLE_MAX:
            return None
        return most.rows, len(most.names), most.first_row

    def add(self, rows: Sequence[Row]) -> None:
        """Take the next rows of the table, blank ones included."""
        named = self._of_debtors(rows)
        if self._iban_at >= 0 and self._amount_at >= 0 and not self.second_table:
            self._look_for_table(rows)
        if not named:
            return
        self.rows += len(named)
        columns = self._columns_of(named)
        self._look_at_texts(named, columns)
        for place in self._marks:
            self.filled[place] += len(named) - columns[place].count("")
        for place in self._texts:
            if not PLACEHOLDERS.isdisjoint(columns[place]):
                self.placeholders[place] += sum(cell in PLACEHOLDERS for cell in columns[place])
        if self._iban_at >= 0 and self._name_at >= 0 and len(self._ibans) < 2:
            self._ibans |= {"".join(cell.split()).upper() for cell in columns[self._iban_at]}
            self._names |= {name for cell in columns[self._name_at] if (name := cell.strip().casefold())}
        if self._iban_at >= 0:
            self._look_at_accounts(named, columns)
        for field, place, others in self._fallbacks:
            self._compare(field, place, others, columns=columns, rows=named)

    def _columns_of(self, rows: Sequence[Row]) -> list[tuple[str, ...]]:
        """The cells of the plan's columns; blank ones where a row is shorter."""
        lines = [row.cells for row in rows]
        if set(map(len, lines)) != {self._width}:
            lines = [cells[: self._width] for cells in lines]
        columns = list(zip_longest(*lines, fillvalue=""))
        columns += [("",) * len(lines)] * (self._width - len(columns))
        return columns

    def _look_at_texts(self, rows: Sequence[Row], columns: Sequence[Sequence[str]]) -> None:
        for place in [*self.words]:
            self._count_words(place, columns[place])
        for place in self._texts_of_rows:
            self._count_credits(place, columns[place], rows=rows)

    def _look_at_accounts(self, rows: Sequence[Row], columns: Sequence[Sequence[str]]) -> None:
        if self._own_accounts:
            self._find_own_account(columns[self._iban_at], rows=rows)
        if self._name_at >= 0:
            self._count_people(rows, columns[self._iban_at], columns[self._name_at])

    def _count_people(self, rows: Sequence[Row], ibans: Sequence[str], names: Sequence[str]) -> None:
        """Note accounts that several rows of a batch name, and for how many people."""
        often = {iban for iban, count in Counter(ibans).items() if count >= _SHARED_MIN}
        if not often and not self._shared:
            return
        for row, iban, name in zip(rows, ibans, names, strict=True):
            if iban not in often and iban not in self._shared:
                continue
            shared = self._shared.get(iban)
            if shared is None:
                if len(self._shared) >= _SHARED_MAX:
                    continue
                shared = self._shared[iban] = _SharedAccount(row.number)
            shared.rows += 1
            if len(shared.names) < _PEOPLE_MAX and (person := name.strip().casefold()):
                shared.names.add(person)

    def _of_debtors(self, rows: Sequence[Row]) -> list[Row]:
        """Pick the rows that name an account; the header repeated at page breaks is none."""
        at = self._iban_at
        if at < 0:
            return [row for row in rows if any(row.cells)]
        return [
            row
            for row in rows
            if len(row.cells) > at
            and (cell := row.cells[at])
            and (cell := cell.strip())
            and cell != self._own_header
        ]

    def _count_words(self, place: int, column: Sequence[str]) -> None:
        words = self.words[place]
        words.update(column)
        if len(words) <= WORDS_MAX:
            return
        merged = Counter[str]()
        for cell, count in words.items():
            merged[clean(cell)] += count
        if len(merged) > WORDS_MAX:
            del self.words[place]
        elif len(words) > _SPELLINGS_MAX:
            self.words[place] = merged

    def _count_credits(self, place: int, column: Sequence[str], *, rows: Sequence[Row]) -> None:
        # The few words of a column are read sooner than all of its cells.
        few = self.words.get(place)
        if few is not None and next(credits_in(list(few)), None) is None:
            return
        for index in credits_in(column):
            count, first, text = self.credits.get(place, (0, rows[index].number, column[index]))
            self.credits[place] = (count + 1, first, text)

    def _find_own_account(self, column: Sequence[str], *, rows: Sequence[Row]) -> None:
        for row, cell in zip(rows, column, strict=True):
            if "".join(cell.split()).upper() in self._own_accounts:
                count, first = self.own_account or (0, row.number)
                self.own_account = (count + 1, first)

    def _compare(
        self,
        field: str,
        place: int,
        others: Sequence[int],
        *,
        columns: Sequence[Sequence[str]],
        rows: Sequence[Row],
    ) -> None:
        own = columns[place]
        gaps = [index for index, cell in enumerate(own) if not has_value(cell)]
        for index in gaps:
            other = next((other for other in others if has_value(columns[other][index])), None)
            if other is not None:
                count, first = self.stands_in.get((field, other), (0, rows[index].number))
                self.stands_in[field, other] = (count + 1, first)
        for other in others:
            if (place, other) not in self.differs and own != columns[other]:
                for index, (item, two) in enumerate(zip(own, columns[other], strict=True)):
                    if has_value(item) and has_value(two) and item.split() != two.split():
                        self.differs[place, other] = rows[index].number
                        break

    def _look_for_table(self, rows: Sequence[Row]) -> None:
        iban_at, amount_at = self._iban_at, self._amount_at
        for row in rows:
            cells = row.cells
            iban = cells[iban_at].strip() if len(cells) > iban_at else ""
            if len(iban) >= 15 and (iban[2:4].isdigit() or sum(map(str.isdigit, iban)) >= 8):
                continue
            amount = cells[amount_at].strip() if len(cells) > amount_at else ""
            if (amount and _AMOUNT.match(amount)) or not any(cells) or self._suspects >= _SUSPECTS_MAX:
                continue
            self._suspects += 1
            filled = [cell for cell in cells if cell.strip()]
            if self.unit_note is None and len(filled) == 1 and currency_of(filled[0]):
                self.unit_note = (row.number, filled[0])
            if self._other_table(cells):
                self.second_table = row.number
                return

    def _other_table(self, cells: Sequence[str]) -> bool:
        """Whether a row is a header with other columns than those of the plan."""
        fields = named_fields(cells[: self._width + 50])
        if len(fields) < 2 or not fields & {"iban", "amount", "amount_minor"} or count_ibans(cells):
            return False
        for column in self._columns:
            if column.field is None:
                continue
            cell = cells[column.position].strip() if len(cells) > column.position else ""
            same = plain(cell) == plain(column.header) or any(
                match.field == column.field for match in word_matches(cell)[:2]
            )
            # A column that the second header leaves out is no reason to doubt the others.
            if not same and (cell or column.field in {"iban", "amount", "amount_minor"}):
                return True
        return False


def scan_rows(
    rows: Iterable[Row],
    *,
    columns: Sequence[Column],
    fallbacks: Mapping[str, Sequence[int]],
    above: Sequence[str] = (),
) -> Scan:
    """
    Scan all rows of a table.

    Args:
        rows: Below the header, to the end.
        columns: As matched.
        fallbacks: Field to the positions of other columns that fit it.
        above: The cells of the lines above the table.

    Returns:
        The scan, its words cleaned.
    """
    found = Scan(columns, fallbacks=fallbacks, above=above)
    every: Iterator[Row] = iter(rows)
    while batch := list(islice(every, _BATCH_ROWS)):
        found.add(batch)
    for place, words in found.words.items():
        merged = Counter[str]()
        for cell, count in words.items():
            merged[clean(cell)] += count
        found.words[place] = merged
    return found
