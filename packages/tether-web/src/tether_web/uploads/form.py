"""Answers about a file: the fields of the upload form, and the same as JSON."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Litestar
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, RequestBody, Schema
from tether_core.errors import InvalidRequest
from tether_core.screening.questions import Answer
from tether_core.screening.verdicts import Subject
from tether_core.spreadsheet import Answers

__all__ = ["AnswersBody", "describe_form", "flag", "json_part", "word_lists"]


class AnswersBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """
    Answers about a file, with the fields of the upload form.

    Attributes:
        mapping: Field to column: its header, its number from 1, or null for "no column".
        formats: Any of delimiter, quote, sheet, header_row, amount_format, date_order, hidden_rows, currency.
        encoding: The encoding of a text file.
        collect: Column, by its header or number, to the words whose rows are collected: "" for blank cells, "*" for every row.
        keep_columns: Whether unknown columns are stored unchanged with each debtor.
        screening: What to do with rows that may have been debited before, by the code of the question: take or exclude.
        remember: Whether that answer holds for later files of this layout.
    """

    mapping: dict[str, str | int | None] = {}
    formats: dict[str, str | int | None] = {}
    encoding: Annotated[str, msgspec.Meta(max_length=40)] | None = None
    collect: dict[str, list[str]] = {}
    keep_columns: bool = False
    screening: dict[Subject, Answer] = {}
    remember: bool = False


_FORM: Final = Schema(
    type=OpenAPIType.OBJECT,
    required=["file"],
    properties={
        "file": Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream"),
        "mapping": Schema(
            type=OpenAPIType.STRING,
            description="JSON: field to column, by header, number from 1, or null.",
            examples=['{"iban": "Konto", "amount": 4}'],
        ),
        "formats": Schema(
            type=OpenAPIType.STRING,
            description="JSON: any of delimiter, quote, sheet, header_row, amount_format, date_order, hidden_rows, currency.",
            examples=['{"amount_format": "comma", "header_row": 3}'],
        ),
        "encoding": Schema(type=OpenAPIType.STRING, examples=["cp1252"]),
        "collect": Schema(
            type=OpenAPIType.STRING,
            description='JSON: column to the words whose rows are collected; "" for blank cells, "*" for every row.',
            examples=['{"S/H": ["S"]}'],
        ),
        "keep_columns": Schema(
            type=OpenAPIType.BOOLEAN,
            description="Store unknown columns unchanged with each debtor.",
        ),
        "dry_run": Schema(
            type=OpenAPIType.BOOLEAN, description="Read and screen the file, but store no debtors."
        ),
        "force": Schema(
            type=OpenAPIType.BOOLEAN, description="Store the file again even if it is stored already."
        ),
    },
)


def read_answers(body: AnswersBody) -> Answers:
    """
    Convert the answers of a form.

    The columns that they name need not exist in the file.

    Raises:
        InvalidRequest: when an answer has the wrong type.
    """
    formats = body.formats
    for name in ("columns", "encoding", "collect", "keep_columns"):
        if name in formats:
            raise InvalidRequest(
                f"must not contain {name}; send it as its own part of the form", field="formats"
            )
    given: Mapping[str, object] = {
        name: value
        for name, value in {
            **formats,
            "encoding": body.encoding,
            "columns": body.mapping,
            "collect": body.collect,
            "keep_columns": body.keep_columns,
        }.items()
        if value is not None
    }
    try:
        return msgspec.convert(given, Answers)
    except msgspec.ValidationError as exc:
        raise InvalidRequest(str(exc)[:300], field="formats") from None


def json_part(fields: dict[str, str], name: str) -> dict[str, Any]:
    """Take a part out of *fields* that is a JSON object of texts and whole numbers; empty where it is missing."""
    text = fields.pop(name, "").strip()
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, str | int | None])
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidRequest("is not a JSON object of texts and whole numbers", field=name) from None


def word_lists(fields: dict[str, str], name: str) -> dict[str, list[str]]:
    """Take a part out of *fields* that is a JSON object of columns and lists of words; empty where it is missing."""
    text = fields.pop(name, "").strip()
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, list[str]])
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidRequest("is not a JSON object of columns and lists of words", field=name) from None


def flag(fields: dict[str, str], name: str) -> bool:
    """Take a flag out of *fields*; false where it is missing."""
    text = fields.pop(name, "").strip().lower()
    if text not in {"", "true", "false", "1", "0", "yes", "no", "on", "off"}:
        raise InvalidRequest("must be true or false", field=name)
    return text in {"true", "1", "yes", "on"}


def describe_form(app: Litestar) -> None:
    """Add the form of `POST /api/uploads`, which the handler reads as a stream, to the OpenAPI document."""
    paths = app.openapi_schema.paths
    assert paths is not None
    operation = paths["/api/uploads"].post
    assert operation is not None
    operation.request_body = RequestBody(
        content={"multipart/form-data": OpenAPIMediaType(schema=_FORM)}, required=True
    )
