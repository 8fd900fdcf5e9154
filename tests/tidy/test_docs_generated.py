import importlib.util
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
    payment_histories = [
        path
        for path in ROOT.glob("packages/tether-core/src/tether_core/**/*.py")
        if "\nTRANSITIONS: " in path.read_text()
    ]
    for path in payment_histories:
        assert f"`{'.'.join(path.with_suffix('').parts[path.parts.index('tether_core') :])}`" in page, (
            f"tools/make_states_doc.py leaves {path.name} out"
        )
    # Beside the lives: two tracks of an attempt, reasons, error codes.
    assert drawn == len(payment_histories) + 4
