"""
Dossiers: everything that is stored about one person, in one file.

A bank asks about a debit, or a person asks for access to personal data (article 15 of the GDPR). The answer is a ZIP file with the same contents twice:
`dossier.html` for people, without scripts or links, and `dossier.json` for programs, whose JSON schema is `schema.json`. It holds account
numbers in clear, so a reason is given for each, and the audit keeps it.

A dossier leaves out what is not about the person: addresses of operators, and the signatures of notifications. A signature never expires, so its
holder could send statuses of that payment.

>>> page({"format": "tether-dossier/1", "rows": [{"name": "A & B", "amount_minor": 1250, "currency": "EUR", "email": None}]}).count("A &amp; B")
1
>>> shown_fields({"status": "approved", "signature": "ab", "bank_account_number": "DE89370400440532013000"})
{'status': 'approved', 'bank_account_number': 'DE89370400440532013000'}
"""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

__all__ = ["FORMAT", "filename", "packed", "page", "shown_fields"]

FORMAT: Final = "tether-dossier/1"
# Fields of notifications that prove who sent them, or are the creditor's own.
_SECRET: Final = frozenset({"signature", "terminal_token", "payment_transaction_terminal_token"})
_STYLE: Final = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "dl{display:grid;grid-template-columns:minmax(9rem,1fr) 3fr;gap:.1rem 1rem;margin:.4rem 0}"
    "dt{color:#555}dd{margin:0;overflow-wrap:anywhere;white-space:pre-wrap}"
    "section{border-left:3px solid #ccc;margin:.6rem 0;padding-left:.8rem}h2{margin-top:2rem}"
)
_DEPTH_MAX: Final = 8


def shown_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """The fields of a notification as a dossier has them."""
    return {name: value for name, value in fields.items() if name not in _SECRET}


def filename(debtor_id: int, *, made_at: datetime) -> str:
    """
    The name of the file; it names nobody.

    Args:
        debtor_id: The debtor it was made for.
        made_at: When; its day is a part of the name.

    >>> filename(7, made_at=datetime(2026, 11, 30, tzinfo=UTC))
    'debtor-7-2026-11-30.zip'
    """
    return f"debtor-{debtor_id}-{made_at.astimezone(UTC):%Y-%m-%d}.zip"


def packed(page_html: str, content: bytes, schema: bytes, *, made_at: datetime) -> bytes:
    """
    The ZIP file of a dossier.

    Args:
        page_html: From `page`.
        content: The dossier as JSON.
        schema: Its JSON schema.
        made_at: When it was made.
    """
    at = made_at.astimezone(UTC)
    day = (at.year, at.month, at.day, at.hour, at.minute, at.second)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in (
            ("dossier.html", page_html.encode()),
            ("dossier.json", content),
            ("schema.json", schema),
        ):
            file.writestr(zipfile.ZipInfo(name, day), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def page(dossier: Mapping[str, Any]) -> str:
    """
    A dossier as one page of HTML that needs nothing else.

    Args:
        dossier: As plain values: mappings, lists, texts, numbers.
    """
    parts = "".join(
        _section(name, value) for name, value in dossier.items() if isinstance(value, list | Mapping)
    )
    facts = {name: value for name, value in dossier.items() if not isinstance(value, list | Mapping)}
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Dossier</title>'
        f"<style>{_STYLE}</style><h1>Dossier</h1>{_list(facts)}{parts}</html>\n"
    )


def _section(name: str, value: Sequence[Any] | Mapping[str, Any]) -> str:
    content = "".join(_values(value, depth=0)) or "<p>None.</p>"
    return f"<h2>{_title(name)}</h2>{content}"


def _values(value: Any, *, depth: int) -> Iterator[str]:
    if depth > _DEPTH_MAX:
        return
    if isinstance(value, Mapping):
        plain = {key: item for key, item in value.items() if not _is_nested(item)}
        yield _list(plain)
        for key, item in value.items():
            if _is_nested(item) and item:
                yield f"<section><strong>{_title(str(key))}</strong>"
                yield from _values(item, depth=depth + 1)
                yield "</section>"
    elif isinstance(value, list):
        for item in value:
            yield "<section>"
            yield from _values(item, depth=depth + 1)
            yield "</section>"
    else:
        yield f"<p>{escape(str(value))}</p>"


def _is_nested(value: Any) -> bool:
    return isinstance(value, list | Mapping)


def _list(values: Mapping[str, Any]) -> str:
    currency = str(values.get("currency") or "")
    rows = "".join(
        f"<dt>{_title(name.removesuffix('_minor'))}</dt><dd>{escape(_text(name, value, currency))}</dd>"
        for name, value in values.items()
        if value is not None and value != ""
    )
    return f"<dl>{rows}</dl>" if rows else ""


def _title(name: str) -> str:
    return escape(name.replace("_", " ").capitalize())


def _text(name: str, value: Any, currency: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_minor") and isinstance(value, int):
        sign, cents = "-" if value < 0 else "", abs(value)
        return f"{sign}{cents // 100}.{cents % 100:02d} {currency}".strip()
    return str(value)
