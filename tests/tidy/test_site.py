"""The docs as a site: which pages it has, and where their links lead. `.ci/run` builds it strictly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("make_site", ROOT / "tools/make_site.py")
assert _spec is not None
assert _spec.loader is not None
site = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(site)

GUIDE = ROOT / "docs/guides/billing.md"


def _linked(text: str, *, repository_url: str = "https://git.example/tether") -> str:
    linked: str = site.linked(text, source=GUIDE, page="guides/billing.md", repository_url=repository_url)
    return linked


def test_every_page_is_on_the_site_once() -> None:
    """A page without a place in the navigation is found by nobody who does not know of it."""
    placed = [page for _, pages in site.navigation() for page in pages]
    written = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(placed) == sorted({*written, *site.OTHERS.values(), "reference/api.md"})
    assert placed[0] == "README.md"


def test_links_out_of_the_docs_lead_to_the_repository() -> None:
    """A reader of the site has no files of the repository; a link into them would lead nowhere."""
    text = "see [`rows.py`](../../packages/tether-core/src/tether_core/retry.py) and [all](../../deploy)"
    assert _linked(text) == (
        "see [`rows.py`](https://git.example/tether/blob/main/packages/tether-core/src/tether_core/retry.py)"
        " and [all](https://git.example/tether/tree/main/deploy)"
    )
    assert _linked(text, repository_url="") == "see `rows.py` and all"


def test_links_between_pages_stay() -> None:
    """Folders have no page of their own on a site, and code is no link."""
    assert _linked("[a](../concepts/billing.md#x), [b](#y)") == "[a](../concepts/billing.md#x), [b](#y)"
    assert _linked("[c](../decisions)") == "[c](../decisions/README.md)"
    assert _linked("[d](../../CHANGELOG.md)") == "[d](../changelog.md)"
    assert _linked("`[e](../../deploy)`") == "`[e](../../deploy)`"
