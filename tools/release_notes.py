"""
Print the section of a version in CHANGELOG.md: `python tools/release_notes.py 0.2.0`.

Exit code 1 where there is none, it is still called unreleased, or a package has another version: such a tag must not be released. It uses nothing but
the standard library.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

__all__ = ["main", "notes"]

ROOT = Path(__file__).parent.parent


def notes(changelog: str, version: str) -> str:
    """
    The section of a version.

    Args:
        changelog: The whole text.
        version: Such as "0.2.0".

    Raises:
        ValueError: when there is none, or it is empty, or it says that it is unreleased.
    """
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    for section in sections:
        title, _, text = section.partition("\n")
        if version not in re.findall(r"\d+\.\d+\.\d+", title):
            continue
        if "unreleased" in title.lower():
            raise ValueError(
                f'the section of {version} is called "{title.strip()}"; write its day in place of that'
            )
        if text.strip():
            return text.strip() + "\n"
    raise ValueError(f"CHANGELOG.md has no section of {version}; write one")


def main(version: str) -> int:
    """Print the section; the exit code."""
    others = {
        path.parent.name: found
        for path in sorted((ROOT / "packages").glob("*/pyproject.toml"))
        if (found := tomllib.loads(path.read_text())["project"]["version"]) != version
    }
    if others:
        print(f"the tag is {version}, but {others}; set the versions of all packages", file=sys.stderr)
        return 1
    try:
        print(notes((ROOT / "CHANGELOG.md").read_text(), version), end="")
    except ValueError as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
