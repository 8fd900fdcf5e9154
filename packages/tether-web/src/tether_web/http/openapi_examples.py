r"""
OpenAPI field descriptions and examples, for all request and response bodies.

The framework reads types and no docstrings. Each struct explains its fields under "Attributes:" of its docstring, and these texts
become the descriptions. An example is composed from the schema, with realistic values.

>>> texts({"a": 0, "b": 0}, doc="A thing.\n\nAttributes:\n    a: Seconds,\n        whole.\n    b: A name.\n")
{'a': 'Seconds, whole.', 'b': 'A name.'}
"""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.openapi.spec import Components, OpenAPIFormat, OpenAPIType, Reference, Schema

__all__ = ["describe_fields", "structs", "texts"]

# Example values by field name, where a value of the type alone would say nothing. Accounts and people are made up.
_VALUES: Final[dict[str, Any]] = {
    "account": "default",
    "added_by": "ops",
    "amount_minor": 1_999,
    "bank_name": "Musterbank",
    "content_type": "application/x-www-form-urlencoded",
    "created_by": "ops",
    "currency": "EUR",
    "due_item": "2026-03",
    "confirmed_status": "approved",
    "email": "ada@example.org",
    "error_code": "340",
    "event": "chargeback",
    "filename": "debtors.csv",
    "kind": "payment",
    "iban_masked": "DE89**************3000",
    "max_minor": 9_999,
    "min_minor": 199,
    "name": "Ada Ahorn",
    "next": "aWQ6NDI",
    "notice_text": "Dear {name}, we collect {amount} on {due_on}.",
    "notification_id": "44177a21403427eb96664a6d7e5d5d48",
    "note": "It has 21 characters, and an IBAN of DE has 22; ask the account holder for it.",
    "outcome": "applied",
    "reason": "moved",
    "reason_code": "AC04",
    "recover_spacing_days": 14,
    "reference": "R-1001",
    "retry_spacing_days": 5,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "remote_ip": "192.0.2.7",
    "source": "webhook",
    "state": "processed",
    "status": "approved",
    "transaction_id": "t-3f1c9a0b5d7e4c21",
    "usage": "Membership March",
    "unique_id": "44177a21403427eb96664a6d7e5d5d48",
}
_BY_FORMAT: Final[dict[Any, str]] = {
    OpenAPIFormat.DATE_TIME: "2026-03-02T12:00:00Z",
    OpenAPIFormat.DATE: "2026-03-02",
}
_BY_TYPE: Final[dict[Any, Any]] = {
    OpenAPIType.STRING: "text",
    OpenAPIType.INTEGER: 1,
    OpenAPIType.NUMBER: 0.5,
    OpenAPIType.BOOLEAN: True,
    OpenAPIType.OBJECT: {},
    OpenAPIType.ARRAY: [],
    OpenAPIType.NULL: None,
}


def describe_fields(app: Litestar) -> None:
    """Add descriptions and examples to every schema of the application's OpenAPI document."""
    components = app.openapi_schema.components
    assert isinstance(components, Components)
    known = list(structs(msgspec.Struct))
    for schema in components.schemas.values():
        if not isinstance(schema, Schema) or not schema.properties:
            continue
        found = _struct(schema, known)
        if found is not None:
            fields = texts(
                schema.properties, doc="\n".join(inspect.getdoc(base) or "" for base in found.__mro__[:3])
            )
            schema.description = (inspect.getdoc(found) or "").partition("\n\n")[0]
            for name, text in fields.items():
                schema.properties[name].description = text
            if found.__struct_config__.forbid_unknown_fields:
                schema.additional_properties = False
            for field in msgspec.structs.fields(found):
                _bound(schema.properties[field.encode_name], msgspec.inspect.type_info(field.type))
        schema.examples = [_example("", schema, components.schemas)]


def _bound(schema: Schema | Reference, kind: msgspec.inspect.Type) -> None:
    """
    Copy the bounds of a type into its schema.

    The framework loses a bound of 0, turns whole numbers into floats, and describes `tuple[X, ...]` as items of any kind.
    """
    if not isinstance(schema, Schema):
        return
    if schema.default == ():
        schema.default = []
    for item in kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,):
        match item:
            case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
                schema.minimum, schema.maximum = item.ge, item.le
            case msgspec.inspect.StrType():
                schema.min_length, schema.max_length = item.min_length, item.max_length
            case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
                for part in (schema, *(schema.one_of or ())):
                    _bound_items(part, item.item_type)
            case _:
                pass


def _bound_items(schema: Schema | Reference, kind: msgspec.inspect.Type) -> None:
    if isinstance(schema, Schema) and schema.items is not None:
        if isinstance(schema.items, Schema) and schema.items.one_of:
            schema.items = schema.items.one_of[0]
        _bound(schema.items, kind)


def structs(parent: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """All loaded structs of Tether that derive from *parent*."""
    for child in parent.__subclasses__():
        if child.__module__.startswith("tether_"):
            yield child
        yield from structs(child)


def texts(names: Iterable[str], *, doc: str) -> dict[str, str]:
    """
    The texts of fields under "Attributes:" of a docstring.

    Args:
        doc: The docstring, as from `inspect.getdoc`.

    Returns:
        Text by field, on one line; fields without a text are left out.
    """
    found = {}
    for name in names:
        text = re.search(rf"^    (?:\w+, )*{name}(?:, \w+)*: (.+(?:\n {{8}}.+)*)", doc, re.MULTILINE)
        if text:
            found[name] = re.sub(r"\s+", " ", text[1])
    return found


def _struct(schema: Schema, known: list[type[msgspec.Struct]]) -> type[msgspec.Struct] | None:
    """The struct of a schema: it has the name in the title and the same fields."""
    title = (schema.title or "").partition("[")[0]
    for item in known:
        if item.__name__ == title and set(item.__struct_encode_fields__) == set(schema.properties or ()):
            return item
    return None


def _example(name: str, schema: Schema | Reference, schemas: dict[str, Schema]) -> Any:
    """An example of a field; of a union, the first member."""
    while isinstance(schema, Reference):
        schema = schemas[schema.ref.rpartition("/")[2]]
    choices = [*(schema.one_of or ()), *(schema.any_of or ())]
    if schema.properties is not None:
        found: Any = {field: _example(field, item, schemas) for field, item in schema.properties.items()}
    elif choices:
        found = _example(name, choices[0], schemas)  # the framework leaves out null, so it is no example
    elif schema.prefix_items is not None:
        found = [_example(name, item, schemas) for item in schema.prefix_items]
    elif schema.items is not None:
        found = [_example(name, schema.items, schemas)]
    else:
        found = _value(name, schema)
    return found


def _value(name: str, schema: Schema) -> Any:
    wanted = _VALUES.get(name)
    if schema.const is not None or schema.enum:
        values = [schema.const] if schema.const is not None else list(schema.enum or ())
        return wanted if wanted is not None and wanted in values else values[0]
    if schema.format in _BY_FORMAT:
        return _BY_FORMAT[schema.format]
    kinds = (
        schema.type
        if isinstance(schema.type, Sequence) and not isinstance(schema.type, str)
        else [schema.type]
    )
    kind = next((item for item in kinds if item in _BY_TYPE), OpenAPIType.NULL)
    plain = _BY_TYPE[kind]
    return wanted if type(wanted) is type(plain) else plain
