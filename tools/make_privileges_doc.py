"""Write docs/reference/privileges.md from the queries of the programs: `uv run python tools/make_privileges_doc.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tether_stores.privileges import Privilege, of_schema
from tether_stores.queries import read

__all__ = ["PAGE", "text"]

PAGE: Final = Path(__file__).parent.parent / "docs" / "reference" / "privileges.md"

_HEAD: Final = """\
# Privileges of the database roles

What `tether-worker migrate` grants the roles of web and worker, by table ([how to set them up](../guides/database-roles.md)). Nothing else is
granted on any table. This page is derived from the queries and triggers by `tools/make_privileges_doc.py`.

| table | web | worker |
|---|---|---|
"""


def text() -> str:
    """The page."""
    schema = read("schema.sql")
    web, worker = of_schema("web", schema), of_schema("worker", schema)
    return _HEAD + "".join(
        f"| `{table}` | {_words(web[table])} | {_words(worker[table])} |\n" for table in web
    )


def _words(privileges: Sequence[Privilege]) -> str:
    return ", ".join(privileges) or "nothing"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
