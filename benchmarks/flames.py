"""Draw a flame graph as a static SVG: the width of a function is its share of the samples."""

from collections.abc import Iterable
from html import escape
from pathlib import Path

import msgspec

__all__ = ["drawn", "function_of"]

_WIDTH, _ROW, _TOP = 1200.0, 17, 30
# Below this share of the samples a function is too narrow to see.
_LEAST = 0.002
_LETTER_PX = 6.6


class _Frame(msgspec.Struct):
    """A function at one place of the call tree, and the functions it called."""

    samples: int = 0
    called: dict[str, "_Frame"] = {}


def drawn(stacks: Path, to: Path, *, title: str) -> None:
    """
    Plot sampled stacks.

    Args:
        stacks: One a line: functions from the outermost on with semicolons, a blank, how often.
        to: The SVG to write.
        title: What was sampled.
    """
    root = _Frame()
    for line in stacks.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        _add(root, stack.split(";"), int(count))
    height = _TOP + _ROW * (_depth(root, least=root.samples * _LEAST) + 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height}" font-family="monospace" font-size="11">',
        f'<text x="4" y="18" font-size="14">{escape(title)}: {root.samples} samples</text>',
        *_boxes(root, root.samples, x=0.0, depth=0, height=height),
        "</svg>",
    ]
    to.write_text("\n".join(lines) + "\n", encoding="utf-8")


def function_of(frame: str) -> str:
    """The function and file of a frame, which ends in its line: what one does on several lines is one function's."""
    return frame.rpartition(":")[0] + ")" if ":" in frame else frame


def _add(root: _Frame, stack: Iterable[str], count: int) -> None:
    root.samples += count
    for name in stack:
        root = root.called.setdefault(function_of(name), _Frame())
        root.samples += count


def _depth(frame: _Frame, *, least: float) -> int:
    return max(
        (1 + _depth(item, least=least) for item in frame.called.values() if item.samples >= least), default=0
    )


def _boxes(frame: _Frame, total: int, *, x: float, depth: int, height: int) -> Iterable[str]:
    for name, item in sorted(frame.called.items()):
        width = _WIDTH * item.samples / max(total, 1)
        if item.samples >= total * _LEAST:
            y = height - _ROW * (depth + 1)
            green = 140 + sum(name.encode()) % 90  # the same function has one colour at all places
            shown = escape(name[: max(int(width / _LETTER_PX) - 1, 0)])
            yield (
                f'<g><title>{escape(name)}: {100 * item.samples / total:.1f} %</title><rect x="{x:.1f}" y="{y}" '
                f'width="{max(width - 0.5, 0.5):.1f}" height="{_ROW - 1}" fill="rgb(245,{green},110)"/>'
                f'<text x="{x + 2:.1f}" y="{y + 12}">{shown}</text></g>'
            )
            yield from _boxes(item, total, x=x, depth=depth + 1, height=height)
        x += width
