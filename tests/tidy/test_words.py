import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The lock file names where each package came from; that is its purpose.
SPARED = {"uv.lock"}
EXCLUDED = {
    ".git",
    ".venv",
    ".tether",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "__pycache__",
}

# Written with brackets so that this file does not break its own rules.
RULES = [
    ("a path of one machine", re.compile(r"/wor[k]/|/roo[t]/|/home/[a-z]+/|/Users/[a-z]+/")),
    (
        "a host of a registry",
        re.compile(r"pypi[.]org|pythonhoste[d]|npmj[s]|crates[.]io|registry-1[.]docker"),
    ),
    ("a mark of unfinished work", re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b")),
    ("a mark of a conflict", re.compile(r"^(?:<{7}|>{7}|={7})(?: |$)", re.MULTILINE)),
]


def _tracked() -> list[Path]:
    """Every file of the repository; of an unpacked archive, everything that is not made by tools."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not EXCLUDED & set(path.relative_to(ROOT).parts)]
    return [path for path in paths if path.is_file() and path.name not in SPARED]


def _text(path: Path) -> str:
    """The file as text; nothing of a file that is none."""
    content = path.read_bytes()
    return "" if b"\0" in content else content.decode("utf-8", "replace")


@pytest.mark.parametrize(("what", "pattern"), RULES, ids=[what for what, _ in RULES])
def test_no_file_holds(what: str, pattern: re.Pattern[str]) -> None:
    """What works on one machine only, or is not finished, would be found by the first stranger who clones this."""
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for path in _tracked()
        for text in [_text(path)]
        for match in pattern.finditer(text)
    ]
    assert not found, f"{what}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a path of one machine", "see /" + "work/main"),
        ("a host of a registry", "https://" + "pypi" + ".org/simple"),
        ("a mark of unfinished work", "# TO" + "DO: later"),
        ("a mark of a conflict", "<" * 7 + " HEAD"),
    ],
)
def test_the_rules_find_what_they_are_for(what: str, text: str) -> None:
    """A pattern that matches nothing holds nothing."""
    assert dict(RULES)[what].search(text)
