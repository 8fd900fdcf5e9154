"""
Build the docs as a site in build/site: `just site`, or `uv run --group site python tools/make_site.py`.

The pages are written to be read in the repository, so a copy of them is arranged for the site first:

- the navigation follows docs/README.md, then the names of the files, so a new page appears by itself;
- the reference of the HTTP API is made from the OpenAPI document of a web node;
- a link out of docs/, to code or to deploy/, leads to the repository where `DOCS_REPOSITORY_URL` is set, and is plain text elsewhere;
- a link to a folder leads to its first page.

Then Zensical builds it strictly: a link or an anchor that leads nowhere fails. Exit code 1 if it does. (Zensical is the successor of Material
for MkDocs, which ends in 2027.)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

__all__ = ["linked", "main", "navigation", "pages_of"]

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
BUILD: Final = ROOT / "build"

# Tabs of the site: their title, and the folder of their pages; "" is docs/ itself.
TABS: Final = (
    ("Start", ""),
    ("Concepts", "concepts"),
    ("Guides", "guides"),
    ("Reference", "reference"),
    ("Runbooks", "runbooks"),
    ("Decisions", "decisions"),
)
# Pages from elsewhere, with their place on the site.
OTHERS: Final = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_LINK: Final = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"(^ *```.*?^ *```[^\n]*$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def pages_of(folder: Path) -> list[str]:
    """The pages of a folder: its README, those that docs/README.md links to in its order, then the others by name."""
    listed = [target.partition("#")[0] for _, target in _LINK.findall((DOCS / "README.md").read_text())]

    def rank(path: str) -> tuple[bool, int, str]:
        return not path.endswith("README.md"), listed.index(path) if path in listed else len(listed), path

    return sorted((page.relative_to(DOCS).as_posix() for page in folder.glob("*.md")), key=rank)


def navigation() -> list[tuple[str, list[str]]]:
    """All pages by tab."""
    tabs = [(title, pages_of(DOCS / folder)) for title, folder in TABS]
    tabs[0][1].extend(OTHERS.values())
    dict(tabs)["Reference"].insert(0, "reference/api.md")
    return tabs


def linked(markdown: str, *, source: Path, page: str, repository_url: str) -> str:
    """
    A page with the links of a site.

    Args:
        markdown: Its text.
        source: Its file in the repository.
        page: Its path on the site.
        repository_url: Where the repository can be read, such as "https://git.example/tether"; "" for nowhere.
    """

    def site_link(found: re.Match[str]) -> str:
        text, target = found.groups()
        path, _, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return found.group()
        file = (source.parent / path).resolve()
        in_repository = file.relative_to(ROOT).as_posix()
        if file.is_relative_to(DOCS):
            place = pages_of(file)[0] if file.is_dir() else file.relative_to(DOCS).as_posix()
        elif in_repository in OTHERS:
            place = OTHERS[in_repository]
        elif repository_url:
            kind = "tree" if file.is_dir() else "blob"
            return f"[{text}]({repository_url.rstrip('/')}/{kind}/main/{in_repository}{'#' * bool(anchor)}{anchor})"
        else:
            return text
        return f"[{text}]({os.path.relpath(place, Path(page).parent)}{'#' * bool(anchor)}{anchor})"

    # Links are looked for outside of code; code within the text of a link is put back afterwards.
    parts = _CODE.split(markdown)
    spans = parts[1::2]
    plain = "".join(f"\0{number // 2}\0" if number % 2 else part for number, part in enumerate(parts))
    return re.sub(r"\0(\d+)\0", lambda found: spans[int(found.group(1))], _LINK.sub(site_link, plain))


def main(environ: Mapping[str, str]) -> int:
    """Build the site; the exit code of the builder."""
    repository_url = environ.get("DOCS_REPOSITORY_URL", "")
    shutil.rmtree(BUILD, ignore_errors=True)
    shutil.copytree(DOCS, BUILD / "docs")
    sources = {page.relative_to(DOCS).as_posix(): page for page in DOCS.rglob("*.md")}
    sources |= {place: ROOT / name for name, place in OTHERS.items()}
    for place, source in sources.items():
        text = linked(source.read_text(), source=source, page=place, repository_url=repository_url)
        (BUILD / "docs" / place).write_text(text)
    (BUILD / "docs/reference/api.md").write_text(import_module("api_page").text())
    nav = ", ".join(f'{{ "{title}" = {pages!r} }}' for title, pages in navigation())
    head, line, rest = (ROOT / "zensical.toml").read_text().partition("[project]\n")
    address = f'site_url = "{url}"\n' if (url := environ.get("DOCS_URL", "")) else ""
    repository = f'repo_url = "{repository_url}"\n' if repository_url else ""
    config = BUILD / "zensical.toml"
    config.write_text(f"{head}{line}nav = [{nav}]\n{address}{repository}{rest}")
    program = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(config)]
    return subprocess.run(program, check=False, env={**environ, "NO_COLOR": "1"}).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main(os.environ))
