"""The vocabulary: words that are banned here, and what is written instead (banned_words.toml)."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DATA = tomllib.loads((Path(__file__).with_name("banned_words.toml")).read_text())
EVERYWHERE: dict[str, str] = DATA["everywhere"]
IN_NAMES: dict[str, str] = EVERYWHERE | DATA["names"]
IN_PROSE: dict[str, str] = EVERYWHERE | DATA["prose"]
VARIABLES: dict[str, str] = DATA["variables"]
SPARED = frozenset(DATA["spared"]["names"])

FOLDERS = ("packages", "tests", "benchmarks", "examples", "tools", "docs", "deploy")
# Programs of other people, which benchmarks compare with.
OTHERS = ROOT / "benchmarks" / "peers"
# The page that says which names were replaced by which.
RENAMES = ROOT / "docs" / "decisions" / "0029-one-vocabulary.md"
PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
NAME = re.compile(r"[A-Za-z_]\w*")
SQL_CODE = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
SQL_START = re.compile(
    r"\s*(?:select|insert into|update \w+ set|delete from|with \w+ as|alter table|create table)\b"
)
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def _files(suffix: str) -> list[Path]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob(f"*{suffix}")]
    found += ROOT.glob(f"*{suffix}")
    return sorted(
        path for path in found if OTHERS not in path.parents and ".venv" not in path.parts and path != RENAMES
    )


def parts(name: str) -> list[str]:
    """The words a name is made of, in lower case."""
    return [part.lower() for part in PARTS.findall(name)]


def banned_in_name(name: str) -> Iterator[tuple[str, str]]:
    """The banned words of a name, each with what to write."""
    if name not in SPARED:
        yield from ((part, IN_NAMES[part]) for part in parts(name) if part in IN_NAMES)


def banned_in_text(text: str, *, words: dict[str, str] = EVERYWHERE) -> Iterator[tuple[int, str, str]]:
    """The banned words of a text: line from 0, word, what to write."""
    for match in NAME.finditer(text):
        if match.group() in SPARED:
            continue
        for part in parts(match.group()):
            if part in words:
                yield text.count("\n", 0, match.start()), part, words[part]


def banned_in_python(source: str) -> Iterator[tuple[int, str, str]]:
    """The banned words of Python: names, variables, docstrings, comments, SQL, and events of log lines."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME:
            yield from ((token.start[0], word, better) for word, better in banned_in_name(token.string))
        elif token.type == tokenize.COMMENT:
            yield from ((token.start[0], word, better) for _, word, better in _banned_in_prose(token.string))
    for node in ast.walk(ast.parse(source)):
        yield from _banned_binding(node)
        if isinstance(node, ast.Expr) and (prose := _string(node.value)) is not None:
            yield from ((node.lineno + line, word, better) for line, word, better in _banned_in_prose(prose))
        text = _spoken(node)
        if text is not None:
            at = getattr(node, "lineno", 0)
            yield from ((at + line, word, better) for line, word, better in banned_in_text(text))


def _banned_in_prose(text: str) -> Iterator[tuple[int, str, str]]:
    """The words that are banned in sentences only; the others are banned where names and pages are read."""
    yield from banned_in_text(text, words=DATA["prose"])


def _string(node: ast.expr) -> str | None:
    """The text of a literal; of a statement that is one, such as a docstring."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _banned_binding(node: ast.AST) -> Iterator[tuple[int, str, str]]:
    """A variable, an argument, a function or an exception under a banned name."""
    name = None
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        name = node.id
    elif isinstance(node, ast.arg):
        name = node.arg
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        name = node.name
    elif isinstance(node, ast.ExceptHandler) and node.name == "problem":
        yield node.lineno, "problem (an exception)", "exc"
    if name in VARIABLES:
        yield getattr(node, "lineno", 0), name, VARIABLES[name]


def _spoken(node: ast.AST) -> str | None:
    """The text of a string that is SQL, or the event of a log line."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL_START.match(node.value):
        return node.value
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and node.args
    ):
        event = node.args[0]
        return event.value if isinstance(event, ast.Constant) and isinstance(event.value, str) else None
    return None


def banned_in_sql(source: str) -> Iterator[tuple[int, str, str]]:
    """The banned words of SQL: names as in Python, and the prose of its comments."""
    code = SQL_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), source)
    for match in NAME.finditer(code):
        line = code.count("\n", 0, match.start()) + 1
        yield from ((line, word, better) for word, better in banned_in_name(match.group()))
    yield from ((line + 1, word, better) for line, word, better in banned_in_text(source, words=IN_PROSE))


def banned_in_markdown(source: str) -> Iterator[tuple[int, str, str]]:
    """The banned words of a page, its code too."""
    yield from ((line + 1, word, better) for line, word, better in banned_in_text(source, words=IN_PROSE))


@pytest.mark.parametrize(
    ("suffix", "find"), [(".py", banned_in_python), (".sql", banned_in_sql), (".md", banned_in_markdown)]
)
def test_no_banned_word_is_used(suffix: str, find) -> None:  # type: ignore[no-untyped-def]
    """A reader who knows payments greps for the field's word; a private one is found by nobody."""
    found = dict.fromkeys(
        f"{path.relative_to(ROOT)}:{line}: {word} is banned here, write {better}"
        for path in _files(suffix)
        for line, word, better in find(path.read_text())
    )
    assert not found, "\n".join(found)


# Put together here, so that a search for it finds the data file alone.
REFUND, RENEW = "give" + "back", "pro" + "long"


@pytest.mark.parametrize(
    ("find", "source", "word"),
    [
        (banned_in_python, f"given = order_{REFUND}(1)", REFUND),
        (banned_in_python, f"class {REFUND.title()}Moved: ...", REFUND),
        (banned_in_python, "for one in rows: ...", "one"),
        (banned_in_python, "def f(has): ...", "has"),
        (banned_in_python, "try: ...\nexcept OSError as problem: ...", "problem (an exception)"),
        (banned_in_python, "_log.warning('duty failed')", "duty"),
        (banned_in_python, f"x = 'select 1 from {REFUND}s'", f"{REFUND}s"),
        (banned_in_sql, f"select id from {REFUND}s;", f"{REFUND}s"),
        (banned_in_sql, f"-- {RENEW.title()} a lease.", RENEW),
        (banned_in_markdown, f"A lease can be {RENEW}ed.", f"{RENEW}ed"),
        (banned_in_python, 'def f():\n    """Whoever calls it."""', "whoever"),
        (banned_in_python, "x = 1  # wherever it is", "wherever"),
        (banned_in_markdown, "A forged notification.", "forged"),
    ],
)
def test_a_banned_word_is_found(find, source: str, word: str) -> None:  # type: ignore[no-untyped-def]
    """A rule that finds nothing holds nothing."""
    assert word in {banned for _, banned, _ in find(source)}


def test_words_with_another_meaning_are_left_alone() -> None:
    """In a sentence, `one` and `ring` are English; in a name of a library they are not ours to change."""
    assert not list(banned_in_markdown("One key ring for each."))
    assert not list(banned_in_python("keys = KeyRing(key_ring)"))
