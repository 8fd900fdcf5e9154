r"""
SQL by name: `sql/<table>.sql` holds the queries of one table, each under a line `-- name --`.

>>> sorted(split("-- one --\n-- says one\nselect 1;\n-- two --\nselect 2;\n").items())
[('one', 'select 1'), ('two', 'select 2')]
"""

import re
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final, LiteralString

__all__ = ["load", "read", "read_lua", "split", "split_file"]

_HEADING: Final = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)
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


def split(text: LiteralString) -> dict[str, LiteralString]:
    """
    Cut a file of named queries.

    Args:
        text: Prose in comments, then `-- name --`, comments, one statement, and so on.

    Returns:
        Name to statement, without comments and without the last semicolon.
    """
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
    The named queries of a file in a package's `sql` folder.

    Args:
        package: The package, e.g. "tether_stores".
        name: The file's name without its ending.

    Returns:
        Name to statement, read-only.
    """
    return MappingProxyType(split(_text(package, f"{name}.sql")))


def _text(package: str, path: LiteralString) -> LiteralString:
    # The text is a file of a package of ours, as fixed as the code beside it; mypy takes LiteralString for str.
    return resources.files(package).joinpath(*path.split("/")).read_text(encoding="utf-8")
