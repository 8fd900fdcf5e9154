r"""
SQL by name: a file holds the queries of a subject, each under a line `-- name --`.

>>> sorted(split("-- first --\n-- A comment.\nselect 1;\n-- second --\nselect 2;\n").items())
[('first', 'select 1'), ('second', 'select 2')]

A part that several queries have in common, such as their columns, is written once under `-- {name} --` and stands as `{name}` in
the queries and in other parts. `-- {name} from payments/billing_attempts --` takes one from another file.

>>> split("-- {columns} --\nid, name\n-- all_rows --\nselect {columns} from debtors;\n")
{'all_rows': 'select id, name from debtors'}
"""

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final, LiteralString

__all__ = ["load", "read", "read_lua", "split", "split_file"]

_HEADING: Final = re.compile(r"^-- ([a-z][a-z0-9_]*|\{[a-z][a-z0-9_]*\}) --$", re.MULTILINE)
_SHARED: Final = re.compile(r"^-- (\{[a-z][a-z0-9_]*\}) from ([a-z_/]+) --$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*\n?", re.MULTILINE)


def read(path: LiteralString) -> LiteralString:
    """
    The text of a file of the package's `sql` folder.

    Args:
        path: E.g. "schema.sql" or "migrations/0001_pre_first.sql".

    Returns:
        SQL, as fixed as the code beside it, and typed so.
    """
    return _text("tether_stores", f"sql/{path}")


def read_lua(name: LiteralString) -> LiteralString:
    """
    A script for Redis, from the package's `lua` folder.

    Args:
        name: The file's name without its ending.

    Returns:
        Its text.
    """
    return resources.files("tether_stores").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")


def split(
    text: LiteralString, *, shared: Mapping[str, LiteralString] = MappingProxyType({})
) -> dict[str, LiteralString]:
    """
    Cut a file of named queries.

    Args:
        text: Prose in comments, then `-- name --`, comments, one statement, and so on.
        shared: Parts of other files by their placeholder.

    Returns:
        Name to statement, without comments and without the last semicolon.
    """
    found = _named(text)
    parts = {**shared, **{name: part for name, part in found.items() if name.startswith("{")}}
    queries: dict[str, LiteralString] = {}
    for name, query in found.items():
        if name in parts:
            continue
        queries[name] = _completed(query, parts)
    return queries


def _completed(query: LiteralString, parts: Mapping[str, LiteralString]) -> LiteralString:
    # Parts may contain parts; a chain is at most as long as there are parts.
    for _ in parts:
        for placeholder, part in parts.items():
            query = query.replace(placeholder, part)
    return query


def _named(text: LiteralString) -> dict[str, LiteralString]:
    parts = _HEADING.split(text)
    return {
        name: _COMMENT.sub("", body).strip().rstrip(";").strip()
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def load(table: LiteralString) -> Mapping[str, LiteralString]:
    """
    The named queries of a table.

    Args:
        table: The file's name without its ending.

    Returns:
        Name to statement, read-only.
    """
    return split_file("tether_stores", table)


def split_file(package: str, name: LiteralString) -> Mapping[str, LiteralString]:
    """
    The named queries of a file in a package.

    Args:
        package: The package, e.g. "tether_stores".
        name: The file's name without its ending.

    Returns:
        Name to statement, read-only.
    """
    text = _text(package, f"{name}.sql")
    shared = {part: _named(_text(package, f"{other}.sql"))[part] for part, other in _SHARED.findall(text)}
    return MappingProxyType(split(text, shared=shared))


def _text(package: str, path: LiteralString) -> LiteralString:
    # The text is a file of an installed package, as fixed as the code beside it; mypy takes LiteralString for str.
    return resources.files(package).joinpath(*path.split("/")).read_text(encoding="utf-8")
