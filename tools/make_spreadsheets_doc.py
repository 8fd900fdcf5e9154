"""Write docs/reference/spreadsheets.md from the tables of the core: `uv run python tools/make_spreadsheets_doc.py`."""

from importlib.resources import files
from pathlib import Path

from tether_core.screening.verdicts import RULES
from tether_core.spreadsheet import outcomes, selection, sniff
from tether_core.spreadsheet.plan import ALL_FIELDS, EXTRA_FIELDS

__all__ = ["PAGE", "text"]

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "spreadsheets.md"

# Refusals that come after the kind of the file is known.
_LATER = (
    ("no_columns", "no line is divided into cells"),
    ("no_rows", "a header and nothing below it"),
    ("no_debtors", "no debtor among the first 10,000 rows with content"),
    ("no_iban", "account numbers and bank codes from before SEPA, and no IBAN"),
    ("quoted_lines", "every line stands in quotation marks as a whole"),
    ("second_table", "a second table with other columns begins below the first one"),
    ("too_many_columns", "more than 500 columns"),
    ("too_many_sheets", "more than 20 visible sheets, and none was named"),
    ("line_too_long", "a line of text of more than a megabyte"),
    ("too_slow", "a workbook that takes too long to read, as with millions of blank cells"),
    ("object_changed", "the stored bytes are no longer those that were sent"),
    ("object_missing", "the stored file is gone"),
    ("invalid_answers", "a mapping or format names what the file does not have"),
    ("gave_up", "reading it ended the program that read it, five times"),
)
_VERDICTS = {
    "duplicate_in_file": "another row of the file is the same debit: the same IBAN, and no reference, mandate or customer number that differs",
    "blacklisted": "the account is on hold, or blocked",
    "chargebacked_before": "an earlier debit from the account was charged back",
    "already_collected": "a debit with the same account and reference was collected, or submitted, through another upload within the window (25 days)",
    "waiting_elsewhere": "a debit with the same account and reference waits in another upload of the window, and is not billed yet",
    "recently_attempted": "the same debit failed or came back through another upload within the window",
    "identity_unclear": "a debit has the same account and reference and another mandate or customer number, or damaged numbers; the upload waits for an answer",
    "collected_lately": "it may be a debit of the window under another reference, or without one; the upload waits for an answer",
    "reference_again": "a debit with the same account and reference was collected before the window; the upload waits for an answer",
    "blacklisted_name": "the name is on the blacklist",
    "blacklisted_bank": "the account's bank is on the blacklist",
    "blacklisted_email": "the e-mail address is on the blacklist",
}


def text() -> str:
    """The page."""
    lines = [
        "# Spreadsheets",
        "",
        "What is understood, refused and remarked on, word for word as the program knows it. This page is made from `tether_core` by",
        "`tools/make_spreadsheets_doc.py`; [guides/uploads.md](../guides/uploads.md) describes its use.",
        "",
        "## Problems of a row",
        "",
        "An *error* keeps a row from becoming a debtor; a *warning* travels with the debtor. Codes are stable.",
        "",
        *_table(outcomes.__doc__),
        "",
        "## Verdicts",
        "",
        "Why a row that could be read is excluded all the same (`tether_core.screening.verdicts`). `TETHER_SCREENING_RULES` chooses and orders",
        "them; the first that fits decides.",
        "",
        "| verdict | when |",
        "| --- | --- |",
        *(f"| `{rule}` | {_VERDICTS[rule]} |" for rule in RULES),
        "",
        "## Why a whole file is refused",
        "",
        "An upload that ends as `failed` has one of these as `failure_code`, and a sentence as `failure`.",
        "",
        *_table(sniff.__doc__),
        *(f"| `{code}` | {meaning} |" for code, meaning in _LATER),
        "",
        "## Questions a file may leave open",
        "",
        "An upload in state `needs_answer` lists them in its plan; each names the setting that answers it.",
        "",
        "| code | what is open | answer with |",
        "| --- | --- | --- |",
        "| `encoding` | the encoding: bytes no common encoding explains | `encoding` |",
        "| `sheet` | which of several sheets holds the list | `formats.sheet` |",
        "| `header_missing` | whether the first row is a header, or already a debtor | `formats.header_row` (0 for none) |",
        "| `iban_column`, `amount_column` | which of several columns is the IBAN or the amount | `mapping` |",
        "| `iban_column_missing`, `name_column_missing`, `amount_column_missing` | which column it is, when no header says so | `mapping` |",
        "| `name_column`, `reference_column` and the like | which of two columns that fit equally well and differ | `mapping` |",
        '| `amount_format` | whether `1.234` is a thousand or one | `formats.amount_format` ("comma" or "point") |',
        (
            "| `currency` | whether amounts are euros where a header, or a row above it, names another currency or thousands "
            '| `formats.currency` ("EUR") |'
        ),
        (
            "| `hidden_rows` | whether rows are collected that a filter or a person has hidden, or that are written in the colour of the "
            'paper | `formats.hidden_rows` ("take" or "exclude") |'
        ),
        (
            "| `conditional_format` | whether all rows are collected, where a conditional format can strike names, accounts or amounts out "
            'or hide them | `formats.hidden_rows` ("take") |'
        ),
        "| `hidden_column` | whether a hidden column holds the amount or the IBAN | `mapping` |",
        *(f"{line} `collect` |" for line in _table(selection.__doc__)[2:]),
        "",
        "Whether `03/04/2026` is in March or April is no question, because no debit carries the day: such days are left blank with a",
        'warning of the plan, until `formats.date_order` ("day_month" or "month_day") says how to read them.',
        "",
        "## Fields and the header words that mean them",
        "",
        "Compared without case, accents, blanks and punctuation; umlauts also match ae, oe, ue, and endings for gender, currencies and",
        "words in brackets are left aside. A word marked *maybe* means the field only if the cells below look like it. A header",
        "that speaks of the creditor means none of them. `mapping` overrides all of it.",
        "",
    ]
    for field in ALL_FIELDS:
        words = _words().get(field)
        if words:
            kept = " Kept word for word beside the debtor." if field in EXTRA_FIELDS else ""
            lines += [f"**`{field}`**{kept} {', '.join(words)}", ""]
    return "\n".join(lines)


def _table(docstring: str | None) -> list[str]:
    lines = (docstring or "").splitlines()
    return [line for line in lines if line.startswith("|")]


def _words() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    source = files("tether_core.spreadsheet").joinpath("words.dat").read_text(encoding="utf-8")
    for line in source.splitlines():
        if line and not line.startswith("#"):
            field, strength, words = line.split(" ", 2)
            mark = " (*maybe*)" if strength == "~" else ""
            found.setdefault(field, []).extend(word.strip() + mark for word in words.split("|"))
    return found


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
