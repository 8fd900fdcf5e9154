"""Each alert has a section in the runbook, and a test that it fires and one that it does not (`just alerts` runs them)."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "deploy/alerts/prometheus.yaml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def test_each_alert_leads_to_its_runbook() -> None:
    """At three in the morning nobody searches for what to do, and what not to do."""
    page = (ROOT / "docs/runbooks/alerts.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == ALERTS
    for alert, section in sections.items():
        assert f"runbook: docs/runbooks/alerts.md#{alert.lower()}\n" in RULES, alert
        for part in ("**Means**", "**Look**", "**Do**", "**Do not**"):
            assert section.count(part) == 1, (alert, part)


def test_each_alert_is_tested_both_ways() -> None:
    """An alert that never fires looks like peace, and one that always fires is muted."""
    files = sorted((ROOT / "deploy/alerts").glob("*_test.yaml"))
    tests = re.findall(r"^- name: (.+)$", "".join(file.read_text() for file in files), re.MULTILINE)
    assert {f"{alert} {what}" for alert in ALERTS for what in ("fires", "is quiet")} <= set(tests)


def test_the_chart_has_the_same_alerts() -> None:
    """A chart cannot read a file outside of it; an alert that was mended in one place would go on waking people of the other."""
    copy = ROOT / "deploy/helm/tether/files/alerts.yaml"
    assert copy.read_text() == RULES, "run: just docs"
