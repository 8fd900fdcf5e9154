import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
MAKERS = sorted(ROOT.glob("tools/make_*_doc.py"))


def _maker(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", MAKERS, ids=lambda path: path.stem)
def test_pages_made_from_tables_are_up_to_date(path: Path) -> None:
    """A reader would act on a table that the program no longer follows."""
    maker = _maker(path)
    written = maker.PAGE.read_text(encoding="utf-8")
    assert written == maker.text(), f"run: uv run python tools/{path.name}"


@pytest.mark.parametrize("path", MAKERS, ids=lambda path: path.stem)
def test_tables_have_as_many_cells_as_their_heads(path: Path) -> None:
    """A bar in a text would shift a row's cells, and an error code would stand in the column of its meaning."""
    table: list[str] = []
    for line in [*_maker(path).text().splitlines(), ""]:
        if line.startswith("|"):
            table.append(line)
        else:
            assert len({row.count("|") for row in table}) <= 1, table[:1]
            table = []


def test_the_states_page_draws_every_life() -> None:
    """A life cycle without a picture is one that nobody looks at."""
    page = _maker(ROOT / "tools" / "make_states_doc.py").text()
    drawn = page.count("```mermaid")
    assert drawn == page.count("```") / 2
    life_cycles = [
        path
        for path in ROOT.glob("packages/tether-core/src/tether_core/**/*.py")
        if "\nTRANSITIONS: " in path.read_text()
    ]
    for path in life_cycles:
        assert f"`{'.'.join(path.with_suffix('').parts[path.parts.index('tether_core') :])}`" in page, (
            f"tools/make_states_doc.py leaves {path.name} out"
        )
    # Beside the lives: two tracks of an attempt, reasons, error codes.
    assert drawn == len(life_cycles) + 4


def test_the_spreadsheets_page_has_every_failure_code() -> None:
    """A sender whose upload failed looks the code up, and finds no word about it."""
    page = _maker(ROOT / "tools" / "make_spreadsheets_doc.py").text()
    folders = [
        "tether-core/src/tether_core/spreadsheet",
        "tether-core/src/tether_core/uploads",
        "tether-worker/src/tether_worker/uploads",
    ]
    sources = [path.read_text() for folder in folders for path in (ROOT / "packages" / folder).glob("*.py")]
    codes = {code for text in sources for code in re.findall(r'(?:\bRefusal|\.fail)\(\s*"([a-z_]+)"', text)}
    assert len(codes) > 20
    assert [code for code in sorted(codes) if f"| `{code}` |" not in page] == []
