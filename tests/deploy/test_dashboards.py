"""The dashboards of deploy/grafana are those of tools/make_dashboards.py."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("make_dashboards", ROOT / "tools/make_dashboards.py")
assert _spec is not None
assert _spec.loader is not None
maker = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(maker)


def test_dashboards_are_up_to_date() -> None:
    """A file that was changed by hand loses the change when somebody makes it again."""
    for path, text in maker.files().items():
        assert path.read_text() == text, "run: uv run python tools/make_dashboards.py"
    assert set((ROOT / "deploy/grafana").glob("*.json")) == set(maker.files())


def test_every_panel_has_its_place_and_its_legend() -> None:
    """Panels on top of each other, or lines without a name, are of no use to anybody."""
    for path in maker.files():
        board = json.loads(path.read_text())
        panels = [panel for panel in board["panels"] if panel["type"] != "row"]
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
        assert len(set(places)) == len(panels), path.name
        for panel in panels:
            assert panel["options"], panel["title"]
            assert panel["targets"], panel["title"]
            assert panel["description"], panel["title"]
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]


def test_every_metric_has_a_panel() -> None:
    """What is measured and shown nowhere is found by nobody in the night in which it would explain everything."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    measured = set(re.findall(r"^\| `(tether_\w+)` \|", page, re.MULTILINE))
    assert len(measured) > 50
    asked = " ".join(query for _, query in maker.queries())
    shown = set(re.findall(r"\btether_\w+", asked))
    assert {
        name for name in measured if not any(name + end in shown for end in ("", "_bucket", "_count", "_sum"))
    } == set()
