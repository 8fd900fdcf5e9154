"""One class a word: the name of a class means one thing in the core, the stores, the web and the worker."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("core", "stores", "web", "worker")
# Two classes under one name, each clear where it stands, with the reason.
SPARED: Final = {
    "Answers": "of a person about a file, and of a provider about an account: two public protocols",
    "Column": "of a file, and of a list of the console, which nothing outside the console imports",
}


def classes(source: str) -> list[str]:
    """The names of the public classes of a module."""
    return [
        node.name
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]


def shared(modules: dict[str, str]) -> dict[str, list[str]]:
    """The names that several modules give a class, each with these modules."""
    found = defaultdict[str, list[str]](list)
    for path, source in sorted(modules.items()):
        for name in classes(source):
            found[name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_a_class_name_means_one_thing() -> None:
    """
    `Policy` meant three things: who searches for a name must find one class.

    The client repeats the names of the API, and the sandbox plays the gateway, so both may use them again.
    """
    modules = {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for package in PACKAGES
        for path in (ROOT / "packages" / f"tether-{package}" / "src").rglob("*.py")
    }
    assert len(modules) > len(PACKAGES)
    found = shared(modules)
    assert set(SPARED) <= set(found), "remove from SPARED what is one class now"
    offenders = [f"{name}: {', '.join(paths)}" for name, paths in found.items() if name not in SPARED]
    assert not offenders, "name each after its subject:\n" + "\n".join(offenders)


def test_a_shared_name_is_found() -> None:
    """A rule that finds nothing holds nothing."""
    modules = {
        "a": "class Policy: ...\nclass _Row: ...",
        "b": "class Policy: ...\nclass _Row: ...\nclass Row: ...",
    }
    assert shared(modules) == {"Policy": ["a", "b"]}
