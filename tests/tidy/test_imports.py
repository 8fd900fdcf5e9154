from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tidy.conftest import Every

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "packages"
CORE = PACKAGES / "tether-core" / "src" / "tether_core"

# Who may import whom. The sandbox is the whole system on one machine, so it may use all.
MAY_IMPORT = {
    "tether_core": set(),
    "tether_stores": {"tether_core"},
    "tether_web": {"tether_core", "tether_stores"},
    "tether_worker": {"tether_core", "tether_stores"},
    "tether_client": set(),
    "tether_sandbox": {"tether_core", "tether_stores", "tether_web", "tether_worker", "tether_client"},
}
# The subjects of a package in the order of their imports: each may import only those before it. `folder/module` places one module
# of a folder apart from the rest.
SUBJECTS = {
    "tether_core": """
    step_sentences errors traces retention jobs scaling retry sepa_text target_calendar iban order_keys odds blacklist return_policies banks events limits fingerprint_key redaction audit people vop money emp
    payments/stages clock_steps database_epoch notifications spreadsheet payments holds mandate_conflicts screening debtor_edits check_files billing recurring figures preflight uploads refunds subscribers
    stated_outcomes reconciliation replays inquiry_orders bulk_orders data_subjects erasures dossier testing
    """.split(),
    "tether_stores": """
    boot_clock pool queries rows settings traces/spans telemetry command_line migrate privileges objects postgres traces redis clock audit events jobs limits return_policies
    order_keys accounts subscribers people gateway_calls row_counts figures sessions banks blacklist preflight mandate_conflicts recurring clean_payers debtors notifications payments vop check_files database_epoch fingerprint_key secrets_key
    refunds stated_outcomes reconciliation holds billing statement_texts inquiry_orders screening uploads debtor_edits retention data_subjects erasures dossier debtor_history workers queues store_status bulk_orders monitoring
    """.split(),
    "tether_web": """
    http accounts limits audit people queues events subscribers order_keys return_policies stated_outcomes notifications payments reconciliation inquiry_orders blacklist debtors clean_payers preflight dossier debtor_history erasures uploads vop check_files statement_texts billing recurring refunds figures bulk_orders
    monitoring health openapi console app
    """.split(),
    "tether_worker": """
    jobs workers traces scaling row_counts blacklist retention erasures figures queues subscribers accounts people fingerprint_key secrets_key status stated_outcomes order_keys mandate_conflicts gateway doctor check_files vop uploads debtor_edits lost_history billing recurring reconciliation inquiry_orders
    payments refunds notifications database_epoch bulk_orders commands app process
    """.split(),
    "tether_client": """
    errors pages credentials connection events health uploads vop billing accounts payments refunds inquiry_orders notifications quarantine relays blacklist bulk_orders reconciliation preflight
    operation return_policies figures debtors erasures subscribers recurring people client smoke monitoring command
    """.split(),
}
# The modules of the gateway's folder, and the only places that may import them; `None`: any place.
GATEWAY: dict[str, tuple[str, ...] | None] = {
    "codes": None,
    "countries": None,
    "notification": None,
    "responses": None,
    "signature": None,
    # Requests are built where they are submitted, and HTTP responses are read there.
    "requests": (
        "tether_core/__init__.py",
        "tether_core/billing/debit_request.py",
        "tether_worker/gateway/",
        "tether_worker/payments/claim.py",
    ),
    "http_response": ("tether_worker/gateway/",),
    # Private. The simulator reads requests with it, at the other end of the wire.
    "document": ("tether_sandbox/gateway/",),
}
# These modules give access to the clock, randomness, the environment, waiting or I/O.
IMPURE = set(
    """
    asyncio concurrent contextvars ctypes curses fcntl fileinput getpass glob http imaplib locale logging mmap
    multiprocessing os pathlib platform poplib posix queue random resource sched secrets select selectors shelve shutil
    signal smtplib socket socketserver sqlite3 ssl subprocess sys syslog tempfile threading time uuid warnings
    webbrowser
    """.split()
)
IMPURE_PARTS = {
    "urllib.request",
    "urllib.error",
    "xml.sax",
}  # the last fetches by URL, and loads what that takes
CLOCKS = {"now", "utcnow", "today"}
BUILT_IN = {"open", "input", "print", "breakpoint", "exec", "eval"}
# What of these modules only names things; and the one place that opens what its caller names: calamine goes by paths.
PURE_NAMES = {"os": {"PathLike", "fspath"}}
OPENS_FOR_ITS_CALLER = {"spreadsheet/reading.py", "spreadsheet/workbook.py"}
# Who may ask the machine for the time: who compares its clock with Postgres', command lines, and the times of log lines.
OWN_CLOCK = {
    "tether_stores/telemetry.py",
    "tether_web/app.py",
    "tether_worker/__main__.py",
    "tether_worker/process.py",
}
# What the core may use beside the standard library, and where.
THIRD_PARTY = {"msgspec": "*", "python_calamine": "spreadsheet/workbook.py", "hypothesis": "testing.py"}

# A query in lower or upper case; prose begins with one capital. Words alone ("select", "update") are no query.
_QUERY = re.compile(
    r"""\s*(?:
        select\s+(?:.*?\sfrom\s|[\w.]+\s*\()
        | insert\s+into\s | update\s+[\w."]+\s+(?:as\s+\w+\s+)?set\s | delete\s+from\s
        | with\s+(?:recursive\s+)?\w+\s*(?:\([^)]*\))?\s+as\s
        | merge\s+into\s | truncate\s+\w | copy\s+\w+\s*(?:\([^)]*\))?\s+(?:from\s+stdin|to\s+stdout)
    )""",
    re.VERBOSE | re.DOTALL,
)


def _sources(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py") if "/src/" in path.as_posix())


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: say whole names, not relative ones"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _only_names(tree: ast.Module, module: str) -> bool:
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == module
    }
    return bool(used) and used <= PURE_NAMES.get(module, set())


def _is_query(text: str) -> bool:
    return bool(_QUERY.match(text)) or (text.lstrip()[:2].isupper() and bool(_QUERY.match(text.lower())))


def _subject(place: str, order: list[str]) -> str:
    folder, _, rest = place.partition("/")
    module = f"{folder}/{rest.partition('/')[0]}"
    return module if module in order else folder


def _id(path: Path) -> str:
    return path.relative_to(PACKAGES).as_posix().partition("/src/")[2]


def test_the_core_reaches_nothing_outside(every: Every) -> None:
    """A clock or a socket in the core makes its rules untestable, and a surprise in the process that imports it."""

    def rule(path: Path) -> None:
        place = path.relative_to(CORE).as_posix()
        tree = _tree(path)
        for line, name in _imported(tree):
            root = name.partition(".")[0]
            assert root not in IMPURE or (name == root and _only_names(tree, root)), (
                f"{place}:{line} imports {root}; take it as an argument"
            )
            assert not any(name.startswith(part) for part in IMPURE_PARTS), f"{place}:{line} imports {name}"
            if root not in sys.stdlib_module_names and root != "tether_core":
                allowed = THIRD_PARTY.get(root)
                assert allowed in {"*", place}, (
                    f"{place}:{line} imports {root}; the core needs msgspec and calamine only"
                )

    every(_sources(CORE), rule)


def test_the_core_never_asks_for_the_time(every: Every) -> None:
    """A rule that looks at the clock gives another answer tomorrow, in a test and in the books."""

    def rule(path: Path) -> None:
        allowed = {"open"} if path.relative_to(CORE).as_posix() in OPENS_FOR_ITS_CALLER else set()
        for node in ast.walk(_tree(path)):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if isinstance(called, ast.Attribute):
                assert called.attr not in CLOCKS, (
                    f"line {node.lineno} asks for the time; take it as an argument"
                )
            if isinstance(called, ast.Name):
                assert called.id not in BUILT_IN - allowed, f"line {node.lineno} calls {called.id}()"

    every(_sources(CORE), rule)


def test_packages_import_one_way(every: Every) -> None:
    """With a circle, the core cannot be used alone, and web and worker cannot be deployed apart."""

    def rule(path: Path) -> None:
        package = path.relative_to(PACKAGES).parts[2]
        for line, name in _imported(_tree(path)):
            root = name.partition(".")[0]
            if root.startswith("tether_") and root != package:
                assert root in MAY_IMPORT[package], f"line {line}: {package} imports {root}"

    every(_sources(PACKAGES), rule)


def test_subjects_import_one_way(every: Every) -> None:
    """Two subjects that import each other are one subject: neither can be read, tested or moved without the other."""

    def rule(path: Path) -> None:
        package, _, place = _id(path).partition("/")
        order = SUBJECTS.get(package)
        if order is None or place.startswith("__"):
            return
        subject = _subject(place.removesuffix(".py"), order)
        assert subject in order, f"{place}: add {subject} to SUBJECTS of {package}"
        for line, name in _imported(_tree(path)):
            root, _, rest = name.partition(".")
            other = _subject(rest.replace(".", "/"), order)
            if root == package and other in order and other != subject:
                assert order.index(other) < order.index(subject), (
                    f"{place}:{line} imports {other}, which stands behind {subject}"
                )

    every(_sources(PACKAGES), rule)


def test_the_gateway_is_one_folder(every: Every) -> None:
    """A second gateway could not stand beside the first if its insides were used everywhere."""
    written = {path.stem for path in (CORE / "emp").glob("*.py")} - {"__init__"}
    assert written == set(GATEWAY), "say in GATEWAY who may import each module of the folder"

    def rule(path: Path) -> None:
        place = _id(path)
        if place.startswith("tether_core/emp/"):
            return
        for line, name in _imported(_tree(path)):
            if not name.startswith("tether_core.emp."):
                continue
            module, _, thing = name.removeprefix("tether_core.emp.").partition(".")
            assert module in GATEWAY, f"{place}:{line} imports {name}; import a module of tether_core.emp"
            places = GATEWAY[module]
            assert places is None or place.startswith(places), (
                f"{place}:{line} imports tether_core.emp.{module}"
            )
            offered = importlib.import_module(f"tether_core.emp.{module}").__all__
            assert not thing or thing in offered, (
                f"{place}:{line} imports {thing}, which {module} does not offer"
            )

    every(_sources(PACKAGES), rule)


def test_nodes_tell_the_time_by_postgres(every: Every) -> None:
    """A command on a machine whose clock is wrong would order work for next week, or call fresh rows an hour old."""

    def rule(path: Path) -> None:
        place = _id(path)
        if place.startswith(("tether_core/", "tether_sandbox/")) or place in OWN_CLOCK:
            return
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                reads_clock = node.value.id in {"date", "datetime"} and node.attr in CLOCKS
                assert not reads_clock, (
                    f"{place}:{node.lineno} asks this machine for the time; see tether_stores.clock"
                )

    every(_sources(PACKAGES), rule)


def test_every_package_is_listed() -> None:
    """A package without a rule could import anything."""
    assert {path.name for path in PACKAGES.glob("*/src/*") if path.is_dir()} == set(MAY_IMPORT)


def test_one_module_reads_workbooks() -> None:
    """A hostile workbook can end the process that reads it; only this module is ever run in a child process."""
    importers = {
        _id(path)
        for path in _sources(PACKAGES)
        if any(name.partition(".")[0] == "python_calamine" for _, name in _imported(_tree(path)))
    }
    assert importers <= {"tether_core/spreadsheet/workbook.py"}


def test_the_product_needs_no_test_library() -> None:
    """An installation without Hypothesis would fail at its first import."""
    importers = {
        _id(path)
        for path in _sources(PACKAGES)
        if any(
            name.startswith(("tether_core.testing", "hypothesis", "pytest"))
            for _, name in _imported(_tree(path))
        )
    }
    assert {importer for importer in importers if not importer.startswith("tether_sandbox/")} <= {
        "tether_core/testing.py"
    }


def test_queries_are_used_by_name(every: Every) -> None:
    """A query inside Python is found by nobody who looks for what touches a table, and is not checked with the others."""

    def rule(path: Path) -> None:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not _is_query(node.value), (
                    f"line {node.lineno}: move this query into tether_stores/sql"
                )

    every(_sources(PACKAGES), rule)


@pytest.mark.parametrize(
    ("text", "is_query"),
    [
        ("select 1", False),
        ("SELECT id FROM uploads", True),
        ("\n  select\n id\n from uploads", True),
        ("select pg_notify(%s)", True),
        ("select now()", True),
        ("insert into uploads (id) values (1)", True),
        ("update uploads set state = 1", True),
        ("DELETE FROM uploads", True),
        ("with due as (select 1) select 2", True),
        ("copy debtors (id) from stdin", True),
        ("Select the attempts from the table.", False),
        ("Update what is set.", False),
        ("select", False),
        ("update_iban", False),
        ("with it", False),
        ("copy it to the store", False),
        ("delete", False),
    ],
)
def test_queries_are_distinguished_from_prose(text: str, is_query: bool) -> None:  # noqa: FBT001 - a column of the table
    """The rule above would let queries pass, or make people reword their sentences."""
    assert _is_query(text) == is_query


def test_only_command_lines_print(every: Every) -> None:
    """A print in a server goes around the redaction that every log line passes."""

    def rule(path: Path) -> None:
        place = _id(path)
        if place.startswith("tether_sandbox/") or path.name == "__main__.py":
            return
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{place}:{node.lineno} prints; log it"

    every(_sources(PACKAGES), rule)
