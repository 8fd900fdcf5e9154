r"""
Request parameters: error sentences for invalid values, and rejection of unknown parameters.

The framework checks types and bounds and reports them in msgspec's words: "Expected `int` >= 1". This module turns them into
sentences with the parameter's public name and, for an enumeration, its values. An unknown parameter is rejected: a misspelt
filter would otherwise return everything.

>>> sentence("Expected `int` <= 500", choices=())
'must be a whole number of at most 500'
>>> sentence("Invalid enum value 'DE89370400440532013000'", choices=("approved", "declined"))
'must be one of approved, declined'
>>> sentence("Object contains unknown field `ibn`", choices=())
'object contains unknown field `ibn`'
>>> printable("\x02", field="note")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: note: Remove the characters that cannot be printed.
>>> reason_of(" the wrong\n list ")
'the wrong list'
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException
from litestar.params import HeaderParameter, Parameter
from litestar.typing import FieldDefinition
from tether_core.errors import InvalidRequest

__all__ = [
    "BIGINT_MAX",
    "WORD",
    "ZERO_BYTE",
    "BodyId",
    "Id",
    "OptionalReason",
    "aware",
    "check_query",
    "choices_of",
    "named",
    "printable",
    "reason_of",
    "sentence",
]

# The largest value of a `bigint` column.
BIGINT_MAX: Final = 2**63 - 1
# The id of a row: in a path or a query, and in a body.
Id = Annotated[int, Parameter(ge=1, le=BIGINT_MAX)]
BodyId = Annotated[int, msgspec.Meta(ge=1, le=BIGINT_MAX)]
# Why something is ordered by a route without a body.
OptionalReason = Annotated[str, Parameter(description="Why; stored in the audit.", max_length=500)]

_NUMBERS: Final = {"int": "a whole number", "float": "a number"}
_KINDS: Final = _NUMBERS | {
    "bool": "true or false",
    "str": "a text",
    "array": "a list",
    "object": "a JSON object",
}
_PARTS: Final = {"str": "characters", "array": "items"}
_COMPARED: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
# What msgspec says, and the sentence in its place.
_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (
        re.compile(r"Expected `(int|float)` (>=|<=|>|<) (\S+)"),
        lambda found: f"must be {_NUMBERS[found[1]]} of {_COMPARED[found[2]]} {found[3]}",
    ),
    (
        re.compile(r"Expected `(str|array)` of length (>=|<=) (\d+)"),
        lambda found: f"must have {_COMPARED[found[2]]} {found[3]} {_PARTS[found[1]]}",
    ),
    (
        re.compile(r"Expected `([\w| ]+?)(?: \| null)?`, got `\w+`"),
        lambda found: f"must be {' or '.join(_KINDS.get(kind, kind) for kind in found[1].split(' | '))}",
    ),
    (re.compile("Integer value out of range"), lambda _: "is too large a number"),
    (
        re.compile("Invalid RFC3339 encoded datetime$"),
        lambda _: "must be a time like 2026-03-02T12:00:00Z",
    ),
    (re.compile("Invalid RFC3339 encoded date$"), lambda _: "must be a day like 2026-03-02"),
    # The framework's message when the body is missing.
    (re.compile("'data'$"), lambda _: "is missing; send a JSON object"),
)
# What an error may repeat: the name of a parameter, and nothing that may be personal data.
WORD: Final = re.compile(r"[a-z_]{1,40}")
# Postgres stores no text with one.
ZERO_BYTE: Final = "contains a zero byte; remove it"
_WHOLE: Final = re.compile(r"-?[0-9]{1,40}")


def sentence(text: str, *, choices: tuple[str, ...]) -> str:
    """
    The error sentence for an invalid value.

    Args:
        text: msgspec's message. It names types and bounds, and a value only if it is not in an enumeration.
        choices: The values of the enumeration.

    Returns:
        The rest of a sentence that begins with the parameter's name; it never contains the value.
    """
    if text.startswith("Invalid enum value"):
        return f"must be one of {', '.join(choices)}" if choices else "is not one of the allowed values"
    for pattern, write in _FORMS:
        if found := pattern.match(text):
            return write(found)
    return text[:1].lower() + text[1:]


def named(request: Request[Any, Any, Any], field: str, text: str) -> tuple[str, str]:
    """
    A validation error of the framework as the parameter's public name and a sentence.

    Args:
        field: The framework's name of the parameter or field.
        text: The framework's message.

    Returns:
        Name and sentence; "body" for the body as a whole.
    """
    found = request.route_handler.parsed_fn_signature.parameters.get(field)
    if field == "data":
        return "body", sentence(text, choices=())
    if found is None:
        return field, sentence(text, choices=())
    return _public(field, found), sentence(text, choices=tuple(choices_of(found.annotation)))


def printable(text: str, *, field: str) -> str:
    """
    Check a one-line text that people will read, in a list, a report or a statement.

    Returns:
        The text unchanged.

    Raises:
        InvalidRequest: when it contains characters that cannot be printed, such as control characters.
    """
    if not text.isprintable():
        raise InvalidRequest("remove the characters that cannot be printed", field=field)
    return text


def reason_of(text: str) -> str:
    """
    The reason that a person must give for an action, on one line.

    Raises:
        InvalidRequest: when it is empty, or contains characters that cannot be printed.
    """
    reason = printable(" ".join(text.split()), field="reason")
    if not reason:
        raise InvalidRequest("say why; it is stored", field="reason")
    return reason


def aware(at: datetime | None, *, field: str) -> datetime | None:
    """
    Check that a time has an offset from UTC.

    Raises:
        InvalidRequest: when it has none. In a URL "+" means a blank: write %2B, or end the time with "Z".
    """
    if at is not None and at.tzinfo is None:
        raise InvalidRequest("needs an offset from UTC, as in 2026-03-02T12:00:00Z", field=field)
    return at


async def check_query(request: Request[Any, Any, Any]) -> None:
    """
    Reject unknown query parameters, texts with a zero byte, and numbers that are not written as whole numbers.

    Called before each handler of the API. The framework would read "1.000" as 1, and Postgres stores no text with a zero byte.

    Raises:
        ValidationException: with the name of the parameter, or with the names of those that exist.
        InvalidRequest: with the name of the parameter that has a zero byte.
    """
    known = {
        _public(name, field): field
        for name, field in request.route_handler.parsed_fn_signature.parameters.items()
        if name not in {"state", "request", "data", "body", "headers", "socket", "scope"}
        and name not in request.path_params
        and not isinstance(field.kwarg_definition, HeaderParameter)
    }
    for name, value in request.path_params.items():
        if "\x00" in str(value):
            raise InvalidRequest(ZERO_BYTE, field=name)
    for name, value in request.query_params.multi_items():
        if name not in known:
            excerpt = name if WORD.fullmatch(name) else "a parameter"
            there = f"use {', '.join(sorted(known))}" if known else "it takes none"
            problem = {"key": excerpt, "message": f"is not a parameter of this route; {there}"}
        elif int in {known[name].annotation, *get_args(known[name].annotation)} and not _WHOLE.fullmatch(
            value
        ):
            problem = {"key": name, "message": "must be a whole number"}
        elif "\x00" in value:
            raise InvalidRequest(ZERO_BYTE, field=name)
        else:
            continue
        raise ValidationException(extra=[problem])


def _public(name: str, field: FieldDefinition) -> str:
    kwarg_definition = field.kwarg_definition
    return getattr(kwarg_definition, "query", None) or getattr(kwarg_definition, "name", None) or name


def choices_of(annotation: Any) -> Iterator[str]:
    """The values of the enumerations in a type, as text."""
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from choices_of(part)
