"""
Headers: which column holds which field of a debtor.

A column is rated by the words of its header (`words`), and then by whether the cells below look like the field: at
least half of them do, 0.1 more; hardly any does, 0.3 less. From 0.5 on the column counts. Two columns that fit an IBAN or an amount are a
question; of several that fit another field the best is taken, and the reason says so.

Some columns are only clear beside their neighbours. "Name" beside "Vorname" is the last name. Of two columns with IBANs the one that
is the same in every row is the sender's own account. A column full of different IBANs is taken for the debtors' even
under a header nobody knows, if there is no other.

>>> headers = ["Name", "Vorname", "Konto", "Betrag (EUR)"]
>>> sample = [["Łącka", "Zoë", "DE89370400440532013000", "12,50"]]
>>> [column.field for column in match_columns(headers, sample=sample, answers=Answers()).columns]
['last_name', 'first_name', 'iban', 'amount']
>>> [question.code for question in match_columns(["IBAN", "Netto", "Betrag netto", "Betrag"], sample=[], answers=Answers()).questions]
['amount_column', 'name_column_missing']
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.spreadsheet.cells import column_letters
from tether_core.spreadsheet.countries import country_code
from tether_core.spreadsheet.fallbacks import FALLBACK_FIELDS
from tether_core.spreadsheet.formats import is_day
from tether_core.spreadsheet.header_words import is_iban, plain, speaks_of_debtor, word_matches
from tether_core.spreadsheet.plan import ALL_FIELDS, Answers, Column, ColumnName, Question

__all__ = ["Matching", "find_column", "match_columns"]

_ENOUGH: Final = 0.5

# Tests for the cells of a field. Fields not named here are any text.
_AMOUNT_LIKE: Final = re.compile(
    r"[-+(]?\s*(?:EUR|€|Euro)?\s*[-+(]?\d[\d.,'\u2019\s]*\s*(?:EUR|€|Euro)?[-)]?|\d+,-+", re.IGNORECASE
)
_LIKE: Final[dict[str, Callable[[str], bool]]] = {
    "iban": is_iban,
    "old_iban": is_iban,
    "amount": lambda text: _AMOUNT_LIKE.fullmatch(text) is not None,
    "amount_minor": lambda text: text.isascii() and text.isdigit(),
    "currency": lambda text: len(text) <= 4 or text.casefold() == "euro",
    "bic": lambda text: re.fullmatch(r"[A-Za-z]{6}[A-Za-z0-9]{2}(?:[A-Za-z0-9]{3})?", text) is not None,
    "mandate_id": lambda text: any(mark.isdigit() for mark in text) and len(text) <= 40,
    "mandate_signed_on": is_day,
    "born_on": is_day,
    "email": lambda text: "@" in text,
    "name": lambda text: any(mark.isalpha() for mark in text) and not is_iban(text),
    "first_name": lambda text: any(mark.isalpha() for mark in text) and not is_iban(text),
    "last_name": lambda text: any(mark.isalpha() for mark in text) and not is_iban(text),
    "postcode": lambda text: any(mark.isdigit() for mark in text) and len(text) <= 12,
    "country": lambda text: country_code(text) is not None,
}

_NAMES: Final = frozenset({"name", "first_name", "last_name"})


class Matching(msgspec.Struct, frozen=True):
    """
    Which column holds which field.

    Attributes:
        columns: All columns in order.
        questions: What a person has to say first.
        fallbacks: Field to the positions of other columns that fit it, best first, with how well they do.
    """

    columns: tuple[Column, ...]
    questions: tuple[Question, ...]
    fallbacks: dict[str, tuple[tuple[int, float], ...]] = {}


class _Candidate(msgspec.Struct, frozen=True):
    position: int
    score: float
    why: str


def match_columns(headers: Sequence[str], *, sample: Sequence[Sequence[str]], answers: Answers) -> Matching:
    """
    Match all columns of a table to fields.

    Args:
        headers: In order; blank and doubled ones allowed.
        sample: The cells of some rows below; short rows allowed.
        answers: Columns the caller has named override everything.

    Returns:
        Columns and open questions.

    Raises:
        InvalidRequest: when the caller names a field or column that does not exist.
    """
    named = {field: _find(field, name, headers) for field, name in answers.columns.items()}
    taken: dict[int, Column] = {
        position: Column(position, headers[position], field, 1.0, "as requested")
        for field, position in named.items()
        if position is not None
    }
    content = _Content(sample, width=len(headers))
    candidates: dict[str, list[_Candidate]] = {}
    for position, header in enumerate(headers):
        if position in taken:
            continue
        for match in word_matches(header):
            if match.field in named:
                continue
            points, evidence = content.evidence(position, match.field)
            score = round(min(max(match.points + points, 0.0), 1.0), 2)
            if score >= _ENOUGH:
                candidates.setdefault(match.field, []).append(
                    _Candidate(position, score, match.why + evidence)
                )
    if not {"name", "first_name", "last_name"} & set(named):
        _tell_parts_of_name(candidates, headers)
    fallbacks: dict[str, tuple[tuple[int, float], ...]] = {}
    questions = _choose(
        candidates, named=named, headers=headers, content=content, taken=taken, fallbacks=fallbacks
    )
    questions.extend(_missing(taken, headers=headers, content=content, asked=questions))
    columns = tuple(
        taken.get(position) or Column(position, header, why="not used" if header else "no header, not used")
        for position, header in enumerate(headers)
    )
    return Matching(columns, tuple(questions), fallbacks)


class _Content:
    """The cells below the headers, counted once for a column at its first use."""

    def __init__(self, sample: Sequence[Sequence[str]], *, width: int) -> None:
        # 200 rows are enough to classify a column; more would only take longer.
        self._columns: list[list[str]] = [[] for _ in range(width)]
        for cells in sample[:200]:
            for position, cell in enumerate(cells[:width]):
                if text := cell.strip():
                    self._columns[position].append(text)

    def filled(self, position: int) -> int:
        return len(self._columns[position])

    def constant(self, position: int) -> bool:
        cells = self._columns[position]
        return len(cells) > 1 and len(set(cells)) == 1

    def share(self, position: int, field: str) -> float:
        cells, like = self._columns[position], _LIKE.get(field)
        return sum(map(like, cells)) / len(cells) if cells and like else 0.0

    def evidence(self, position: int, field: str) -> tuple[float, str]:
        """Points for or against a field, and the words for it."""
        count = self.filled(position)
        if not count or field not in _LIKE:
            return 0.0, ""
        share = self.share(position, field)
        words = f"; {share * count:.0f} of the first {count} cells look like it"
        if share >= 0.5:
            return 0.1, words
        # Of an amount or a day a few cells prove nothing; of a name each one has letters.
        few = count <= 2 and not (share == 0 and field in _NAMES)
        return (-0.3, words) if share < 0.2 and not few else (0.0, words)


def _label(position: int, headers: Sequence[str]) -> str:
    header = headers[position].strip()
    return f"{column_letters(position)} (\u201c{header[:40]}\u201d)" if header else column_letters(position)


def _find(field: str, name: ColumnName, headers: Sequence[str]) -> int | None:
    """Turn the caller's name of a column into its position."""
    if field not in ALL_FIELDS:
        raise InvalidRequest(
            f"there is no field {field[:40]!r}; there are {', '.join(ALL_FIELDS)}", field="columns"
        )
    if name is None:
        return None
    return find_column(name, headers, answer=f"columns.{field}")


def find_column(name: int | str, headers: Sequence[str], *, answer: str) -> int:
    """
    Turn a name of a column into its position.

    Args:
        name: Its number from 1, its header, or as a question's choices name it.
        headers: In order.
        answer: The part of the answers that names it, for the error.

    Returns:
        The position, counted from 0.

    Raises:
        InvalidRequest: when no column, or more than one, is called so.

    >>> find_column("B (“Betrag”)", ["Betrag", "Betrag"], answer="columns.amount"), find_column("2", ["a", "b"], answer="collect")
    (1, 1)
    """
    if isinstance(name, str):
        wanted = name.strip()
        positions = [position for position, header in enumerate(headers) if header.strip() == wanted]
        # Headers may be cut short in a choice, or occur twice; the letters before them tell the columns apart.
        positions = positions or [
            position
            for position in range(len(headers))
            if wanted in (_label(position, headers), str(position + 1))
        ]
        if len(positions) == 1:
            return positions[0]
        count = "no column has" if not positions else f"{len(positions)} columns have"
        raise InvalidRequest(
            f"{count} the header {name[:40]!r}; give the column's number, counted from 1", field=answer
        )
    if not 1 <= name <= len(headers):
        raise InvalidRequest(f"the table has {len(headers)} columns, there is no column {name}", field=answer)
    return name - 1


def _choose(  # noqa: C901 - three kinds of field, one after the other
    candidates: dict[str, list[_Candidate]],
    *,
    named: dict[str, int | None],
    headers: Sequence[str],
    content: _Content,
    taken: dict[int, Column],
    fallbacks: dict[str, tuple[tuple[int, float], ...]],
) -> list[Question]:
    """
    Give each field its column in *taken*, and the others that fit in *fallbacks*.

    Where several columns fit an IBAN or an amount, add a question.
    """
    questions = []

    def take(field: str, candidate: _Candidate) -> None:
        taken[candidate.position] = Column(
            candidate.position, headers[candidate.position], field, candidate.score, candidate.why
        )

    def ask(code: str, field: str, what: str, rivals: Iterable[_Candidate]) -> None:
        choices = tuple(_label(rival.position, headers) for rival in rivals)
        sentence = f"Which column holds {what}: {' or '.join(choices)}?"
        questions.append(Question(code, sentence, f"columns.{field}", choices))

    amounts = [(field, item) for field in ("amount", "amount_minor") for item in candidates.pop(field, [])]
    amounts = [(field, item) for field, item in amounts if content.filled(item.position)] or amounts
    if {"amount", "amount_minor"} & set(named):
        pass  # the caller has said which
    elif len(amounts) == 1:
        take(*amounts[0])
    elif amounts:
        ask("amount_column", "amount", "the amount to collect", [item for _, item in amounts])
    ibans = candidates.pop("iban", [])
    if "iban" not in named:
        ibans = _debtors_accounts(ibans, headers=headers, content=content, taken=taken)
    if len(ibans) == 1:
        take("iban", ibans[0])
    elif ibans:
        ask("iban_column", "iban", "the debtor's IBAN, not your own", ibans)
    rest = [(field, item) for field, ones in candidates.items() for item in ones]
    for field, item in sorted(rest, key=lambda pair: (-pair[1].score, pair[1].position)):
        if item.position not in taken and field not in {column.field for column in taken.values()}:
            take(field, item)
    for field, item in sorted(rest, key=lambda pair: (-pair[1].score, pair[1].position)):
        if item.position not in taken:
            if field in FALLBACK_FIELDS:
                fallbacks[field] = (*fallbacks.get(field, ()), (item.position, item.score))
            other = next(column.position for column in taken.values() if column.field == field)
            why = f"also fits {field}, but column {_label(other, headers)} fits as well or better; not used"
            taken[item.position] = Column(item.position, headers[item.position], None, 0.0, why)
    return questions


def _debtors_accounts(
    candidates: list[_Candidate], *, headers: Sequence[str], content: _Content, taken: dict[int, Column]
) -> list[_Candidate]:
    """Narrow the columns that may hold the debtors' IBANs down, to one if words or content allow."""
    rivals = candidates
    if all(content.constant(candidate.position) for candidate in candidates):
        # No header says IBAN, or what stands below is one and the same account: cells may know better.
        named = {candidate.position for candidate in candidates}
        found = _by_content(headers, content=content, taken=taken)
        rivals = [*candidates, *(item for item in found if item.position not in named)]
    rivals = [rival for rival in rivals if content.share(rival.position, "iban") >= _ENOUGH] or rivals
    return _own_account_out(rivals, headers=headers, content=content) if len(rivals) > 1 else rivals


def _by_content(headers: Sequence[str], *, content: _Content, taken: dict[int, Column]) -> list[_Candidate]:
    """Find columns that hold IBANs under a header nobody knows, unless it is always the same one."""
    found = []
    for position, header in enumerate(headers):
        speaks = bool(header.strip()) and not word_matches(f"iban {header}")
        if position in taken or speaks or content.constant(position):
            continue
        share = content.share(position, "iban")
        if share >= 0.5:
            count = content.filled(position)
            why = f"no known header, but {share * count:.0f} of the first {count} cells are IBANs"
            found.append(_Candidate(position, 0.6, why))
    return found


def _own_account_out(
    rivals: list[_Candidate], *, headers: Sequence[str], content: _Content
) -> list[_Candidate]:
    """Separate the debtors' IBANs from the sender's own account, if words or content allow it."""
    named = [rival for rival in rivals if speaks_of_debtor(headers[rival.position])]
    if len(named) == 1:
        return named
    varied = [rival for rival in rivals if not content.constant(rival.position)]
    if len(varied) == 1:
        item = varied[0]
        return [
            msgspec.structs.replace(item, why=f"{item.why}; the other IBAN column is the same in every row")
        ]
    return rivals


# "Name" beside "Vorname" is the last name; "Nombre" beside "Apellidos" the first.
_EITHER_NAME: Final = frozenset(plain(word) for word in "name naam nom nombre nome nazwa".split())


def _tell_parts_of_name(candidates: dict[str, list[_Candidate]], headers: Sequence[str]) -> None:
    """Read a general word for names beside one part of the name as the other part."""
    first, last = candidates.get("first_name"), candidates.get("last_name")
    general = [
        candidate
        for candidate in candidates.get("name", ())
        if plain(headers[candidate.position]) in _EITHER_NAME
    ]
    if len(general) != 1 or bool(first) == bool(last):
        return
    item, field = general[0], "last_name" if first else "first_name"
    beside = (first or last or general)[0].position
    why = f"{item.why}; beside {_label(beside, headers)} it is the other part of the name"
    candidates["name"].remove(item)
    candidates[field] = [msgspec.structs.replace(item, why=why)]


def _missing(
    taken: dict[int, Column],
    *,
    headers: Sequence[str],
    content: _Content,
    asked: Sequence[Question],
) -> list[Question]:
    """Add a question for each required field without a column."""
    have = {column.field for column in taken.values()}
    open_ = {question.answer for question in asked}
    seen = (
        ", ".join(f"\u201c{header.strip()[:30]}\u201d" for header in headers[:12] if header.strip()) or "none"
    )
    questions = []
    for field, what, enough in (
        ("iban", "the IBAN", {"iban"}),
        ("name", "the account holder's name", {"name", "last_name"}),
        ("amount", "the amount", {"amount", "amount_minor"}),
    ):
        if have & enough or f"columns.{field}" in open_:
            continue
        hints = [
            _label(position, headers)
            for position in range(len(headers))
            if position not in taken and content.share(position, field) >= 0.5
        ][:5]
        hint = f" The cells of {', '.join(hints)} look like it." if hints and field != "name" else ""
        questions.append(
            Question(
                f"{field}_column_missing",
                f"Which column holds {what}? None of the headers says so: {seen}.{hint}",
                f"columns.{field}",
                tuple(_label(position, headers) for position in range(min(len(headers), 100))),
            )
        )
    return questions
