"""The workflows: pinned, with the least permissions, documented, and released from the changelog. `just deploy-check` lints them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
_spec = importlib.util.spec_from_file_location("release_notes", ROOT / "tools/release_notes.py")
assert _spec is not None
assert _spec.loader is not None
release = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(release)


def test_actions_are_pinned_and_nothing_is_permitted_by_default() -> None:
    """A tag of an action can be moved to other code, which would then run with our secrets."""
    assert {path.stem for path in WORKFLOWS} == {"ci", "release", "deploy", "production", "rollback"}
    for path in WORKFLOWS:
        text = path.read_text()
        assert re.search(r"^permissions: \{\}$", text, re.MULTILINE), path.name
        for used in re.findall(r"uses: (\S+)", text):
            assert used.startswith("./") or re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", used), used
        # An input or a secret within a script is code of the one who chose it.
        for script in re.findall(r"run: (?:\|\n((?: {10,}.*\n)+)|(.+))", text):
            assert "${{" not in "".join(script), path.name


def test_every_secret_and_variable_is_documented() -> None:
    """A person who sets a repository up learns of a missing secret from this table, or from a failed deployment."""
    page = (ROOT / "docs/guides/deployment.md").read_text()
    for path in WORKFLOWS:
        for name in re.findall(r"\b(?:secrets|vars)\.(\w+)", path.read_text()):
            assert f"`{name}`" in page, name


def test_the_gate_runs_with_each_python_that_the_packages_name() -> None:
    """Who installs with a Python that the package index shows as supported must not be the first to try it."""
    (matrix,) = re.findall(r"python: \[(.+)\]", (ROOT / ".github/workflows/ci.yml").read_text())
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', path.read_text())
        assert re.findall(r"3\.\d+", matrix) == named, path


def test_a_release_has_its_notes() -> None:
    """A tag without a section in the changelog would be published with nothing said about it."""
    changelog = "# Changelog\n\n## 0.2.0, 2027-01-05\n\n- New.\n\n## 0.1.0, 2026-12-01\n\n- First.\n"
    assert release.notes(changelog, "0.2.0") == "- New.\n"
    assert release.notes(changelog, "0.1.0") == "- First.\n"
    with pytest.raises(ValueError, match="no section"):
        release.notes(changelog, "0.3.0")
    with pytest.raises(ValueError, match="write its day"):
        release.notes("## Unreleased: 0.2.0\n\n- New.\n", "0.2.0")
    assert release.main("9.9.9") == 1
