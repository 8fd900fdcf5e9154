"""Write results as Markdown tables, with all that is needed to repeat the run."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

__all__ = ["FOLDER", "Aim", "aims", "command", "heading", "prose", "table", "write"]

FOLDER = Path(__file__).parent / "results"
_NAMED = ("granian", "litestar", "saq", "redis", "psycopg", "msgspec", "uvloop", "python-calamine", "obstore")


class Aim(msgspec.Struct, frozen=True):
    """Something aimed at, what was measured, and whether that meets it."""

    text: str
    measured: float
    met: bool


def command() -> str:
    """The command that runs this benchmark once more."""
    return "uv run --group bench python -m benchmarks " + " ".join(sys.argv[1:])


def heading(title: str, *, seed: int | None) -> list[str]:
    """What was run, when, on what."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _NAMED)
    return [
        f"# {title}",
        "",
        f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- command: `{command()}`",
        *([f"- seed: {seed}"] if seed is not None else []),
        f"- commit: {_commit()}",
        f"- machine: {os.cpu_count()} shared cores ({_processor()}), {memory_gib:.0f} GiB, {system}",
        f"- load average at the end: {os.getloadavg()[0]:.1f}",
        f"- versions: Python {platform.python_version()} (built {platform.python_build()[1]}), {versions}",
        "",
    ]


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table; numbers are aligned to the right."""
    marks = [
        "---:" if rows and isinstance(rows[0][place], int | float) else "---" for place in range(len(columns))
    ]
    return [
        f"| {' | '.join(columns)} |",
        f"| {' | '.join(marks)} |",
        *(f"| {' | '.join(_shown(cell) for cell in row)} |" for row in rows),
        "",
    ]


def prose(*sentences: str) -> list[str]:
    """A paragraph."""
    return [" ".join(sentences), ""]


def aims(found: Sequence[Aim]) -> list[str]:
    """A section with the goals."""
    rows = [(aim.text, f"{aim.measured:.4g}", "yes" if aim.met else "no") for aim in found]
    return ["## Aims", "", *table(("aim", "measured", "met"), rows)]


def write(name: str, lines: Sequence[str]) -> Path:
    """Write a result, and print it."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.md"
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines) + f"\nwritten to {path.relative_to(FOLDER.parent.parent)}\n")
    return path


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:.2f}" if abs(cell) < 100 else f"{cell:.0f}"
    return str(cell)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def _commit() -> str:
    process = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return process.stdout.strip() or "unknown"
