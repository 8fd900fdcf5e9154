"""The pages: every link leads somewhere, and every name, command and setting they speak of exists."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tether_client.__main__ as client
import tether_sandbox.__main__ as sandbox
import tether_web.__main__ as web
import tether_worker.__main__ as worker
from tether_sandbox.services.program import Launch
from tether_stores.settings import described

if TYPE_CHECKING:
    from tests.tidy.conftest import Every

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "deploy", "examples", "benchmarks", "packages", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
PARSERS = {
    "tether": client._parser,
    "tether-web": web._parser,
    "tether-worker": worker._parser,
    "tether-sandbox": sandbox._parser,
}

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
_CODE = re.compile(r"^```[^\n]*\n(.*?)^```|`([^`\n]+)`", re.MULTILINE | re.DOTALL)
# `tether` alone is a command at the beginning of a line only: elsewhere it is a user, a bucket or a release.
_COMMAND = re.compile(
    r"(?<![\w/.-])(tether-(?:web|worker|sandbox)|(?<!.)tether)(?![\w.@/:-]| tether-)([^\n|&;<>'\"#)]*)"
)
_VARIABLE = re.compile(r"\b(?:TETHER|EMP|DATABASE|REDIS|AWS|RECONCILIATION)_[A-Z][A-Z_]*[A-Z]\b")
# A dotted name of a Tether package; a name with a file suffix is a path.
_NAME = re.compile(r"\b(tether_(?:core|stores|web|worker|client|sandbox)(?:\.[A-Za-z_]\w*)+)\b(?!/)")
# Where the command `tether` finds Tether; no program of the server reads them.
_OF_THE_COMMAND = {"TETHER_URL", "TETHER_API_KEY", "TETHER_PROFILE"}
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TEST = re.compile(r"\btests/[\w/.*-]*[\w*]")


def _id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _without_code(text: str) -> str:
    return _CODE.sub("", text)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(
        r"^#+ +(.+?) *$", _CODE.sub(lambda code: code[2] or "", page.read_text()), re.MULTILINE
    )
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in plain}


def _code(page: Path) -> Iterator[str]:
    for block, span in _CODE.findall(page.read_text()):
        yield from block.replace("\\\n", " ").splitlines() if block else [span]


def test_links_lead_somewhere(every: Every) -> None:
    """A reader who follows a dead link stops reading, and so does trust in the page it stood on."""

    def rule(page: Path) -> None:
        for inline, reference in _LINK.findall(_without_code(page.read_text())):
            target, _, anchor = (inline or reference).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            found = (page.parent / target).resolve() if target else page
            assert found.is_relative_to(ROOT), f"{target} leads out of the repository"
            assert found.exists(), f"{target} does not exist"
            if anchor and found.suffix == ".md":
                assert anchor in _anchors(found), f"{target or page.name} has no heading for #{anchor}"

    every(PAGES, rule)


def test_every_page_of_the_docs_can_be_found() -> None:
    """A page that no other one links to is read by nobody."""
    linked = {
        (page.parent / (inline or reference).partition("#")[0]).resolve()
        for page in PAGES
        for inline, reference in _LINK.findall(_without_code(page.read_text()))
    }
    # A link to a folder is one to the pages in it.
    lost = [page for page in (ROOT / "docs").rglob("*.md") if not {page, page.parent} & linked]
    assert [_id(page) for page in lost] == []


def test_a_page_names_every_setting_that_it_needs(every: Every) -> None:
    """Without one of these a program complains when it starts, or does not start."""

    def rule(page: str) -> None:
        text = (ROOT / page).read_text()
        if page.endswith(".md"):
            text = text.partition("The least is")[2].partition("2. ")[0]
        needed = (
            "DATABASE_URL REDIS_URL AWS_BUCKET EMP_API_LOGIN EMP_API_PASSWORD EMP_TERMINAL_TOKEN EMP_API_URL "
            "TETHER_API_KEYS TETHER_FINGERPRINT_KEY TETHER_SECRETS_KEY"
        )
        found = {name.removesuffix("_FILE") for name in _VARIABLE.findall(text)}
        assert set(needed.split()) <= found

    every(["docs/start.md", "deploy/compose.yaml"], rule)


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= action.choices
    return found


@functools.cache
def _parser(program: str) -> argparse.ArgumentParser:
    """The parser of a program; making one takes longer than all else here."""
    return PARSERS[program]()


def _understood(program: str, words: list[str]) -> None:
    """Walk a command as its parser would, as far as a page writes it out."""
    parser = _parser(program)
    for word in words:
        if word == "--" or not re.fullmatch(r"-{0,2}[a-z0-9][\w=./:-]*", word):
            return  # somebody else's command, or a word that stands for something
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert option in parser._option_string_actions, f"{parser.prog} has no option {option}"
        elif children := _children(parser):
            assert word in children, f"{parser.prog} has no command {word}"
            parser = children[word]
        elif parser.prog.endswith(" up"):
            return  # the command to run


def test_commands_on_pages_exist(every: Every) -> None:
    """The first thing a newcomer does is to copy a command; one that is refused is often the last."""

    def rule(page: Path) -> None:
        if page.name == "CHANGELOG.md":
            return  # speaks of its own time
        for line in _code(page):
            for program, rest in _COMMAND.findall(line):
                _understood(program, rest.split())

    every(PAGES, rule)


def test_a_command_that_does_not_exist_is_found() -> None:
    """A walk that accepts everything would hold nothing."""
    for program, words in (
        ("tether-worker", "run webhooks --fast"),
        ("tether-worker", "book"),
        ("tether-sandbox", "up --s4 -- sh"),
        ("tether-web", "--prot 80"),
        ("tether", "uploads bil 12"),
    ):
        with pytest.raises(AssertionError, match="has no"):
            _understood(program, words.split())


def _tree(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for child in _children(parser).values():
        yield from _tree(child)


def test_every_option_is_explained(every: Every) -> None:
    """`--help` is the page that people read first; an option without a word is one they leave alone."""

    def rule(program: str) -> None:
        for parser in _tree(PARSERS[program]()):
            text = parser.format_help()
            for action in parser._actions:
                if isinstance(action, argparse._SubParsersAction):
                    assert {choice.dest for choice in action._choices_actions} == set(action.choices), (
                        parser.prog
                    )
                    assert all(choice.help for choice in action._choices_actions), parser.prog
                elif action.option_strings:
                    assert action.help, f"{parser.prog} {action.option_strings[-1]}"
                    assert action.option_strings[-1] in text, f"{parser.prog} {action.option_strings[-1]}"

    every(PARSERS, rule)


@pytest.mark.parametrize("program", PARSERS)
def test_help_needs_no_settings(process: Launch, program: str) -> None:
    """A user who calls --help has nothing set up yet."""
    asked = process(program, "--help", environ={})
    assert asked.wait() == 0
    assert asked.stdout.startswith("usage:")
    assert asked.stderr == ""


def test_settings_on_pages_exist(every: Every) -> None:
    """A setting that is spelt wrong on a page is set, and ignored, by everybody who follows it."""

    def rule(page: Path) -> None:
        settings = list(described())
        from_files = {f"{setting.env}_FILE" for setting in settings if setting.secret}
        known = {setting.env for setting in settings} | from_files | set(_read_by_tests()) | _OF_THE_COMMAND
        named = {name for code in _code(page) for name in _VARIABLE.findall(code)}
        assert named <= known

    every(PAGES, rule)


def _read_by_tests() -> Iterator[str]:
    """Variables that only tests and benchmarks read."""
    for folder in ("tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            yield from re.findall(r"environ(?:\.get\(|\[)\s*\"(\w+)\"", path.read_text())


def _exists(name: str) -> bool:
    """Whether a dotted name leads to a module or to something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(thing, part):
                return part in getattr(thing, "__annotations__", {})
            thing = getattr(thing, part)
        return True
    return False


def test_names_on_pages_exist(every: Every) -> None:
    """The pages send readers to functions and tests by name; one that was renamed sends them nowhere."""

    def rule(page: Path) -> None:
        if page.name == "CHANGELOG.md":
            return
        text = page.read_text()
        assert [name for name in sorted(set(_NAME.findall(text))) if not _exists(name)] == []
        assert [
            path for path in sorted(set(_TEST.findall(text))) if not list(ROOT.glob(path.rstrip("/")))
        ] == []

    every(PAGES, rule)


def test_python_on_pages_runs(every: Every) -> None:
    """A reader pastes a block and expects it to work: the blocks of a page run in order, as one program."""

    def rule(page: Path) -> None:
        program = "\n".join(block.group(1) for block in _PYTHON.finditer(page.read_text()))
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(program, _id(page), "exec"), {"__name__": "__main__"})

    every([page for page in PAGES if _PYTHON.search(page.read_text())], rule)


def test_every_table_has_its_word_in_the_glossary() -> None:
    """Each table and column name must have exactly one documented meaning."""
    schema = (ROOT / "packages/tether-stores/src/tether_stores/sql/schema.sql").read_text()
    glossary = (ROOT / "docs/glossary.md").read_text()
    assert [
        name
        for name in re.findall(r"^create table (\w+)", schema, re.MULTILINE)
        if f"`{name}`" not in glossary
    ] == []


def test_words_of_the_glossary_stand_once_and_in_order() -> None:
    """Two rows for one word are two meanings; a row out of order is not found."""
    rows = re.findall(r"^\| ([^|]+?) \| ", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)[1:]
    words = [row for row in rows if not row.startswith("-")]
    assert len(set(words)) == len(words)
    assert words == sorted(words, key=lambda word: re.sub(r"[^a-z ]", "", word.lower()))


def test_each_decision_has_a_number_of_its_own() -> None:
    """Code and pages speak of decisions by number."""
    numbers = [page.name[:4] for page in (ROOT / "docs/decisions").glob("0*.md")]
    assert len(set(numbers)) == len(numbers)
    for page in (ROOT / "docs/decisions").glob("0*.md"):
        text = page.read_text()
        for part in ("**Context.**", "**Decision.**", "**Consequences.**", "**Not chosen.**", "**Held by**"):
            assert part in text, f"{page.name} lacks {part}"
        assert re.search(
            r"^Status: (?:accepted|replaced by \d{4}), \d{4}-\d\d-\d\d\.$", text, re.MULTILINE
        ), f"{page.name} lacks a line such as: Status: accepted, 2026-11-29."
