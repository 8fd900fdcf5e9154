"""The image has the packages that settings of its programs switch on. The tests do not build it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_image_has_what_a_setting_can_turn_on() -> None:
    """A container cannot be given a package later: a setting whose extra is missing ends each program at its start."""
    text = (ROOT / "deploy/Dockerfile").read_text()
    installed = set(re.findall(r"--extra (\w+)", text))
    packages = set(re.findall(r"--package (\S+)", text))
    assert packages == {"tether-web", "tether-worker", "tether-stores"}
    extras = set[str]()
    for package in packages:
        project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]
        extras |= set(project.get("optional-dependencies", {}))
    assert installed == extras
