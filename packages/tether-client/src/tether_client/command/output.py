r"""
What the command writes: results on stdout, everything else on stderr.

Texts come from files and from the gateway, so control characters are replaced: they could steer the terminal.

>>> cleaned("a\x1b[2Jb")
'a?[2Jb'
>>> money(123456)
'1,234.56'
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from tether_client.errors import ClientError, Refused

__all__ = ["Output", "Progress", "cleaned", "fitted", "money", "new_file", "shown", "table"]

_CELL_MAX: Final = 60


def cleaned(text: str) -> str:
    """The text without control and formatting characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def money(amount_minor: int) -> str:
    """An amount in minor units of a hundredth, as people write it."""
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{abs(amount_minor) // 100:,}.{abs(amount_minor) % 100:02}"


def new_file(path: Path, pieces: Iterable[bytes]) -> int:
    """
    Write a file, never over one that is there: it may be the list that was sent last month.

    Returns:
        Its size in bytes.

    Raises:
        Refused: when the file exists, or cannot be written.
    """
    size_bytes = 0
    try:
        with path.open("xb") as file:
            for piece in pieces:
                size_bytes += file.write(piece)
    except FileExistsError as exc:
        raise Refused(f"{path} exists; give another name.") from exc
    except OSError as exc:
        raise Refused(f"{path} cannot be written: {exc.strerror}.") from exc
    except ClientError:
        path.unlink(missing_ok=True)
        raise
    return size_bytes


def shown(value: object) -> str:  # noqa: PLR0911 - a table of types
    """A value in a cell: empty for `None`, times in UTC to the second, counts by name as `name 3, other 1`."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{cleaned(str(name))} {shown(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(item) for item in value)
    return cleaned(str(value))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows below a header, columns aligned; numbers to the right."""
    cells = [[_cut(shown(value)) for value in row] for row in rows]
    widths = [max(len(row[at]) for row in [list(header), *cells]) for at in range(len(header))]
    right = [bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(header))]
    lines = []
    for row in [[name.upper() for name in header], *cells]:
        aligned = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines) + "\n"


def fitted(text: str, *, columns: int, lines: int) -> str:
    r"""
    The upper left part of a text, as a terminal shows it without a wrapped line.

    >>> fitted("queue billing: 12 rows\nqueue vop: 0 rows\nno run is active\n", columns=14, lines=2)
    'queue billing…\n(2 more lines)\n'
    """
    given = text.splitlines()
    kept = given if len(given) <= lines else given[: max(lines - 1, 0)]
    more = [f"({len(given) - len(kept)} more lines)"] if len(kept) < len(given) else []
    cut = [line if len(line) <= columns else line[: columns - 1] + "…" for line in [*kept, *more]]
    return "\n".join(cut) + "\n"


def _cut(text: str) -> str:
    return text if len(text) <= _CELL_MAX else text[: _CELL_MAX - 1] + "…"


class Progress:
    """One line on a terminal that is written again and again; nothing where stderr is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream if stream.isatty() else None
        self._last = ""

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._stream is not None and text != self._last:
            self._stream.write(f"\r\x1b[K{cleaned(text)}")
            self._stream.flush()
            self._last = text

    def bar(self, done: int, total: int, text: str) -> None:
        """Replace the line by a bar."""
        part = min(1.0, done / total) if total > 0 else 0.0
        filled = round(part * 24)
        self.show(f"[{'#' * filled}{'.' * (24 - filled)}] {part:4.0%}  {text}")

    def end(self) -> None:
        """Remove the line."""
        if self._stream is not None and self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._last = ""


class Output:
    """
    Where results go.

    Attributes:
        is_json: Whether stdout has JSON only.
        progress: The line of progress.
    """

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self.progress = Progress(sys.stderr)

    def result(self, value: Any, text: Callable[[], str]) -> None:
        """
        Write a result.

        Args:
            value: A struct, or what can be encoded as JSON.
            text: Makes the same for a person, ending in a line break.
        """
        self.progress.end()
        self.write(msgspec.json.encode(value).decode() + "\n" if self.is_json else text())

    def write(self, text: str) -> None:
        """
        Write to stdout, at once.

        Raises:
            Refused: when there is no room for it.
        """
        encoding = sys.stdout.encoding or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            # A terminal of another alphabet gets "?" for a letter that it lacks; JSON has escapes for it.
            text = (
                json.dumps(json.loads(text)) + "\n"
                if self.is_json
                else text.encode(encoding, "replace").decode(encoding)
            )
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as exc:
            # Python would try to write the rest once more at its end, and print an error of its own.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Refused(
                f"The output cannot be written: {exc.strerror}. Make room, or choose another file."
            ) from exc

    def note(self, text: str) -> None:
        """Write a line for a person, beside the result."""
        self.progress.end()
        sys.stderr.write(cleaned(text) + "\n")

    def can_ask(self) -> bool:
        """Whether a person at a terminal can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty() and not os.environ.get("CI")

    def ask(self, question: str) -> bool:
        """Ask a person at the terminal; only "y" and "yes" agree."""
        self.progress.end()
        sys.stderr.write(f"{cleaned(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}
