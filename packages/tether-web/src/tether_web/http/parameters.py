r"""
What a request may ask with, and a sentence for whoever asks with something else.

The framework checks types and bounds, in the words of its library: "Expected `int` >= 1". Here these become sentences with
the parameter's public name and, where there are some to choose from, its values. A parameter that does not exist
is refused rather than passed over: a filter spelt wrong would answer with everything.

>>> sentence("Expected `int` <= 500", choices=())
'must be a whole number of at most 500'
>>> sentence("Invalid enum value 'DE89370400440532013000'", choices=("approved", "declined"))
'must be one of approved, declined'
>>> sentence("Object contains unknown field `ibn`", choices=())
'object contains unknown field `ibn`'
>>> printable("\x02", field="note")
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: note: leave out characters that cannot be printed
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, Literal, get_args, get_origin

from litestar import Request
from litestar.exceptions import ValidationException
from litestar.params import HeaderParameter
from litestar.typing import FieldDefinition
from tether_core.errors import InvalidRequest

__all__ = ["aware", "named", "printable", "refuse_unknown", "sentence"]

_NUMBERS: Final = {"int": "a whole number", "float": "a number", "bool": "true or false"}
_COMPARED: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
# msgspec's words -> ours.
_FORMS: Final[tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]] = (
    (
        re.compile(r"Expected `(int|float)` (>=|<=|>|<) (\S+)"),
        lambda found: f"must be {_NUMBERS[found[1]]} of {_COMPARED[found[2]]} {found[3]}",
    ),
    (
        re.compile(r"Expected `str` of length (>=|<=) (\d+)"),
        lambda found: f"must have {_COMPARED[found[1]]} {found[2]} characters",
    ),
    (
        re.compile(r"Expected `(int|float|bool)(?: \| null)?`, got `\w+`"),
        lambda found: f"must be {_NUMBERS[found[1]]}",
    ),
    (
        re.compile("Invalid RFC3339 encoded datetime$"),
        lambda _: "must be a time like 2026-03-02T12:00:00Z",
    ),
    (re.compile("Invalid RFC3339 encoded date$"), lambda _: "must be a day like 2026-03-02"),
    # The framework's way of saying that its argument of that name was not given.
    (re.compile("'data'$"), lambda _: "is missing; send a JSON object"),
)
# What may be repeated to its sender: a word that names a parameter, and nothing that could be somebody's data.
_WORD: Final = re.compile(r"[a-z_]{1,40}")


def sentence(text: str, *, choices: tuple[str, ...]) -> str:
    """
    What is wrong with a value, for whoever sent it.

    Args:
        text: As msgspec says it. It names types and bounds; of values, only one that is none of an enumeration.
        choices: The values there are, where they are few.

    Returns:
        The rest of a sentence that begins with the parameter's name; never the value.
    """
    if text.startswith("Invalid enum value"):
        return f"must be one of {', '.join(choices)}" if choices else "is none of the values there are"
    for pattern, ours in _FORMS:
        if found := pattern.match(text):
            return ours(found)
    return text[:1].lower() + text[1:]


def named(request: Request[Any, Any, Any], field: str, text: str) -> tuple[str, str]:
    """
    A complaint of the framework with the parameter's public name and in a sentence.

    Args:
        request: Which was asked.
        field: The framework's name of the parameter or field.
        text: Its complaint.

    Returns:
        Name and sentence; "body" for the body as a whole.
    """
    found = request.route_handler.parsed_fn_signature.parameters.get(field)
    if field == "data":
        return "body", sentence(text, choices=())
    if found is None:
        return field, sentence(text, choices=())
    return _public(field, found), sentence(text, choices=tuple(_choices(found.annotation)))


def printable(text: str, *, field: str) -> str:
    """
    A text that people will read, in a list, a report or a statement.

    Args:
        text: Of one line.
        field: Where it was given.

    Returns:
        The text as it is.

    Raises:
        InvalidRequest: when it holds signs that nobody would see, and that mean something to what it passes through.
    """
    if not text.isprintable():
        raise InvalidRequest("leave out characters that cannot be printed", field=field)
    return text


def aware(at: datetime | None, *, field: str) -> datetime | None:
    """
    A time that says its offset; without one it would mean another time in each office.

    Raises:
        InvalidRequest: when it has none. In an address, "+" means a blank: it is written %2B, or the time ends in "Z".
    """
    if at is not None and at.tzinfo is None:
        raise InvalidRequest("say its offset, as in 2026-03-02T12:00:00Z", field=field)
    return at


async def refuse_unknown(request: Request[Any, Any, Any]) -> None:
    """
    Refuse parameters that do not exist; called before each handler of the API.

    Args:
        request: Which was asked.

    Raises:
        ValidationException: naming the ones there are.
    """
    known = {
        _public(name, field)
        for name, field in request.route_handler.parsed_fn_signature.parameters.items()
        if name not in {"state", "request", "data", "body", "headers", "socket", "scope"}
        and name not in request.path_params
        and not isinstance(field.kwarg_definition, HeaderParameter)
    }
    for name in request.query_params:
        if name not in known:
            excerpt = name if _WORD.fullmatch(name) else "what you gave"
            there = f"there are {', '.join(sorted(known))}" if known else "this address takes none"
            raise ValidationException(extra=[{"key": excerpt, "message": f"is no parameter here; {there}"}])


def _public(name: str, field: FieldDefinition) -> str:
    kwarg_definition = field.kwarg_definition
    return getattr(kwarg_definition, "query", None) or getattr(kwarg_definition, "name", None) or name


def _choices(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    else:
        for part in get_args(annotation):
            yield from _choices(part)
