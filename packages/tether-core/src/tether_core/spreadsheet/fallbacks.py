"""
Fallbacks: where the column of a field is empty in a row and another column that fits the field has the value.

"Kontoinhaber" is filled where somebody else pays, and "Name" counts everywhere else. The plan lists the fallback columns and the number of
rows that use each.

>>> from tether_core.spreadsheet.plan import Column, Plan
>>> columns = (Column(0, "Kontoinhaber", "name"), Column(1, "Name"))
>>> fill = filler(Plan(kind="csv", header_row=1, data_row=2, columns=columns, fallbacks={"name": (1,)}))
>>> fill(["", "Ann"]), fill(["Greta", "Ben"]), fill(["-", "Ann"])
(['Ann', 'Ann'], ['Greta', 'Ben'], ['Ann', 'Ann'])
"""

from collections.abc import Callable, Sequence
from typing import Final

from tether_core.spreadsheet.person_names import PLACEHOLDERS
from tether_core.spreadsheet.plan import EXTRA_FIELDS, FIELDS, Plan

__all__ = ["FALLBACK_FIELDS", "filler", "has_value"]

# Fields whose cells mean the same in either column. Amounts and IBANs are questions instead, and dates have rules of their own.
FALLBACK_FIELDS: Final = frozenset((*FIELDS, *EXTRA_FIELDS)) - {
    "iban",
    "amount",
    "amount_minor",
    "currency",
    "mandate_signed_on",
    "born_on",
    "old_iban",
}


def has_value(cell: str) -> bool:
    """Whether a cell says anything: neither blank nor a placeholder."""
    cell = cell.strip()
    return bool(cell) and cell not in PLACEHOLDERS


def filler(plan: Plan) -> Callable[[Sequence[str]], Sequence[str]] | None:
    """
    Make the function that fills a field's empty cell from its fallback columns.

    Args:
        plan: Holds the fallback columns of each field.

    Returns:
        A function from a row's cells to its cells as they are read; `None` where no field has a fallback column.
    """
    fields = plan.fields
    pairs = [(fields[field], others) for field, others in plan.fallbacks.items() if field in fields]
    if not pairs:
        return None

    def fill(cells: Sequence[str]) -> Sequence[str]:
        filled: list[str] | None = None
        for at, others in pairs:
            if at < len(cells) and has_value(cells[at]):
                continue
            found = next((other for other in others if other < len(cells) and has_value(cells[other])), None)
            if found is not None:
                filled = list(cells) if filled is None else filled
                filled += [""] * (at + 1 - len(filled))
                filled[at] = cells[found]
        return cells if filled is None else filled

    return fill
