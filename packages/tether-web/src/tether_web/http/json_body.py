r"""
JSON bodies of requests: decoded strictly, with one sentence for each field that is wrong.

The framework converts bodies as it converts query strings, so the text "1.000" would pass as the number 1. Here a number is a JSON
number, a text a JSON text, and nothing is converted.

>>> from typing import Literal
>>> class Order(msgspec.Struct, forbid_unknown_fields=True):
...     count_max: int
...     states: list[Literal["open", "closed"]] = []
>>> decode(b'{"count_max": 3, "states": ["open"]}', Order)
Order(count_max=3, states=['open'])
>>> list(wrong_fields({"count_max": "1.000", "states": ["open", "x"], "cout": 1}, Order))
[('count_max', 'must be a whole number'), ('states[1]', 'must be one of open, closed'), ('cout', 'is not a field of this body; use count_max, states')]
>>> list(wrong_fields({}, Order))
[('count_max', 'is missing')]
"""

import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import msgspec
from litestar import Request
from litestar.exceptions import ValidationException
from tether_core.errors import InvalidRequest

from tether_web.http.parameters import WORD, ZERO_BYTE, choices_of, sentence

__all__ = ["StrictRequest", "decode", "wrong_fields"]

# How msgspec ends a message about a part of a value, e.g. "... - at `$.overrides[0].reason`" or "... - at `key` in `$.screening`".
_AT: Final = re.compile(r" - at (`key` in )?`\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_MISSING: Final = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body is decoded strictly into the type of the handler's `data`."""

    async def json(self) -> Any:
        """
        Decode the body into the type that the handler declares.

        Raises:
            ValidationException: with a sentence for each field that is wrong; the values are not repeated.
        """
        return decode(await self.body(), self.route_handler.parsed_fn_signature.parameters["data"].annotation)


def decode(body: bytes, kind: Any) -> Any:
    """
    Decode a JSON body strictly.

    Args:
        kind: The type to decode into.

    Raises:
        ValidationException: with a sentence for each field that is wrong; the values are not repeated.
        InvalidRequest: with a text that has a zero byte, which Postgres does not store.
    """
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError) as exc:
        why = str(exc).removeprefix("JSON is malformed: ") if isinstance(exc, msgspec.DecodeError) else ""
        raise _refused([("body", f"is not valid JSON: {why or 'it is not UTF-8'}")]) from None
    if rb"\u0000" in body:
        _refuse_zero_bytes(content)
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as exc:
        raise _refused(list(wrong_fields(content, kind)) or [_problem(str(exc), kind)]) from None


def _refuse_zero_bytes(content: Any) -> None:
    """Refuse texts and names of fields that have one, however deep."""
    parts: list[tuple[str, Any]] = [("", content)]
    while parts:
        path, part = parts.pop()
        if isinstance(part, dict):
            for name, value in part.items():
                # A name that is no word is the sender's text, and not repeated.
                parts += [
                    (path, name),
                    (f"{path}.{name}".lstrip(".") if WORD.fullmatch(name) else path, value),
                ]
        elif isinstance(part, list):
            parts += [(f"{path}[{index}]", value) for index, value in enumerate(part)]
        elif isinstance(part, str) and "\x00" in part:
            raise InvalidRequest(ZERO_BYTE, field=path or "body")


def wrong_fields(content: Any, kind: Any) -> Iterator[tuple[str, str]]:
    """
    The fields of a body that are wrong.

    Args:
        content: The decoded JSON.
        kind: The struct that the body should be.

    Yields:
        The path of a field and the rest of a sentence that begins with it.
    """
    if not isinstance(content, dict):
        yield "body", "must be a JSON object"
        return
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name in content:
            try:
                msgspec.convert(content[name], hint)
            except msgspec.ValidationError as exc:
                yield _problem(str(exc), hint, name)
        elif name in _required(kind):
            yield name, "is missing"
    known = kind.__struct_encode_fields__
    for name in content:
        if name not in known:
            yield (name if WORD.fullmatch(name) else "a field"), _unknown(known)


def _problem(message: str, kind: Any, path: str = "") -> tuple[str, str]:
    """The path and the sentence of one message of msgspec about a value of the type *kind*, which is at *path*."""
    at = _AT.search(message)
    text, is_key, inner = (message[: at.start()], bool(at[1]), at[2]) if at else (message, False, "")
    part = _part(kind, inner)
    # The key of a map is the sender's text and could be personal data; msgspec leaves it out.
    whole = (path + inner).replace("[...]", "").lstrip(".")
    if missing := _MISSING.match(text):
        return f"{whole}.{missing[1]}".lstrip("."), "is missing"
    if unknown := _UNKNOWN.match(text):
        name = unknown[1] if WORD.fullmatch(unknown[1]) else "a field"
        return f"{whole}.{name}".lstrip("."), _unknown(part.__struct_encode_fields__)
    if is_key:
        return (
            whole or "body",
            f"has a name that {sentence(text, choices=tuple(choices_of(get_args(part)[0])))}",
        )
    return whole or "body", sentence(text, choices=tuple(choices_of(part)))


def _part(kind: Any, path: str) -> Any:
    """The type of a part of a value of the type *kind*; *path* is as in `.overrides[0].reason`."""
    for name, index in _STEP.findall(path):
        container = _container(kind)
        arguments = get_args(container)
        kind = (
            get_type_hints(container, include_extras=True)[name]
            if name
            else arguments[-1 if index == "..." else 0]
        )
    return _container(kind)


def _container(kind: Any) -> Any:
    """A type without `Annotated` and `None` around it."""
    while get_origin(kind) in {Annotated, Union, UnionType}:
        inner = [item for item in get_args(kind) if item is not NoneType]
        if get_origin(kind) is not Annotated and len(inner) != 1:
            break
        kind = inner[0]
    return kind


def _required(kind: Any) -> set[str]:
    return {field.name for field in msgspec.structs.fields(kind) if field.required}


def _unknown(known: tuple[str, ...]) -> str:
    return f"is not a field of this body; use {', '.join(known)}"


def _refused(wrong: list[tuple[str, str]]) -> ValidationException:
    return ValidationException(extra=[{"key": field, "message": text} for field, text in wrong])
