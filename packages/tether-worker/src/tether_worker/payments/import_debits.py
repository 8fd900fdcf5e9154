"""
`tether-worker attempts import FILE`: import debits that another system submitted.

    tether-worker attempts import old-debits.csv --dry-run

FILE is a CSV with one debit a row; its columns are recognized by name (docs/guides/switching.md). Readable rows become attempts that are
never submitted: their notifications are applied, screening and billing see them, open ones get status inquiries. Notifications that
came before are applied by a worker a little later, parked ones too.

A row that is stored already changes nothing, so a file can be imported again, and a stopped import continues. A row that is unreadable,
or contradicts what is stored, is reported and excluded; the others are imported.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import psycopg
from tether_core import iban as ibans
from tether_core.audit import facts
from tether_core.blacklist import parse_codes
from tether_core.errors import InvalidRequest
from tether_core.fingerprint_key import FingerprintKeyRefused
from tether_core.money import Money
from tether_core.payments.attempt import Attempt
from tether_core.payments.imported_debits import FIELDS, ImportedDebit, compare, entry, layout, read
from tether_core.return_policies.policy import BUILT_IN, ReturnPolicy, built_in
from tether_core.spreadsheet import Problem, Refusal, Row
from tether_core.spreadsheet.plan import Question
from tether_core.spreadsheet.sniff import sniff
from tether_core.spreadsheet.text import decide_delimiter, decide_encoding, read_text
from tether_stores import audit, blacklist, return_policies
from tether_stores import fingerprint_key as key_store
from tether_stores.accounts import gateway_accounts
from tether_stores.blacklist import ManualEntry
from tether_stores.clock import timestamp
from tether_stores.notifications import webhook_events
from tether_stores.payments import billing_attempts, imported_attempts
from tether_stores.postgres import Connection, Pool, connection, open_pool, transaction
from tether_stores.settings import Settings

__all__ = ["DebitImportReport", "Importing", "add_commands", "import_attempts"]

# Large enough to share the commit, small enough that notifications of its rows are not kept waiting.
BATCH_MAX: Final = 1_000
# Rows between two signs of life.
_PROGRESS_ROWS: Final = 20_000
_PROBLEMS_MAX: Final = 1_000
# How often another import may store an id of a batch just before the batch does.
_RACES_MAX: Final = 3


class Importing(msgspec.Struct, frozen=True):
    """
    What importing needs.

    Attributes:
        account: The gateway account that the debits were sent with.
        fingerprint_key: `TETHER_FINGERPRINT_KEY`.
        policy: Version 0 of the return policy, by the settings.
        dry_run: Compare only; nothing is written.
    """

    pool: Pool
    account: str = "default"
    fingerprint_key: bytes = b""
    policy: ReturnPolicy = BUILT_IN
    dry_run: bool = False


class DebitImportReport(msgspec.Struct):
    """
    The result of an import.

    Attributes:
        rows: Rows below the header that are not blank.
        imported: Debits that were stored, or would be.
        there_already: Rows equal to what is stored.
        excluded: Rows that could not be read, or contradict what is stored.
        states: Of those imported: how many began in which state.
        amounts_minor: Of those imported: currency to their sum in whole minor units.
        listed: Blacklist entries made for returned debits.
        woken: Notifications of the file's debits that had waited, and are applied now.
        replayed: The same for those that were parked.
        passed_over: Unknown columns.
        problems: What is wrong with rows that were excluded, the first thousand.
        problem_count: How many there are.
    """

    rows: int = 0
    imported: int = 0
    there_already: int = 0
    excluded: int = 0
    states: dict[str, int] = {}
    amounts_minor: dict[str, int] = {}
    listed: int = 0
    woken: int = 0
    replayed: int = 0
    passed_over: tuple[str, ...] = ()
    problems: list[Problem] = []
    problem_count: int = 0

    @property
    def done(self) -> bool:
        """Whether every row of the file is stored."""
        return not self.excluded


async def import_attempts(
    file: BinaryIO,
    deps: Importing,
    *,
    on_problem: Callable[[Problem], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
    batch_max: int = BATCH_MAX,
) -> DebitImportReport:
    """
    Import the debits of a file.

    Args:
        file: A CSV, seekable.
        on_problem: Called with each problem as it is found.
        progress: Called now and then with the number of rows done.
        batch_max: Rows of one transaction.

    Raises:
        InvalidRequest: when the file is no such table, or the fingerprint key is not the one in use.
        StoreUnreachable: when Postgres is away; run it again.
    """
    report = DebitImportReport()
    with closing(_rows(file)) as lines:
        header = next((row for row in lines if _filled(row)), None)
        if header is None:
            raise InvalidRequest("the file is empty", field="file")
        columns = layout(header.cells)
        report.passed_over = columns.passed_over
        async with transaction(deps.pool) as conn:
            now = await timestamp(conn)
            await _check_key(conn, deps.fingerprint_key, now=now)
        filled = (row for row in lines if _filled(row))
        while batch := list(islice(filled, batch_max)):
            good: list[ImportedDebit] = []
            for row in batch:
                found = read(row, layout=columns, now=now)
                if isinstance(found, ImportedDebit):
                    good.append(found)
                else:
                    _exclude(report, found, on_problem)
            before = report.rows
            report.rows += len(batch)
            if good:
                await _take(good, deps, report=report, on_problem=on_problem)
            if before // _PROGRESS_ROWS != report.rows // _PROGRESS_ROWS:
                progress(report.rows)
    return report


def _rows(file: BinaryIO) -> Generator[Row]:
    """Read a CSV; what it is, its encoding and its delimiter are detected by its content."""
    found = sniff(file)
    if isinstance(found, Refusal):
        raise InvalidRequest(found.why, field="file")
    if found.kind != "csv":
        raise InvalidRequest("it is a workbook; save the sheet as CSV (UTF-8) and give that", field="file")
    encoding = decide_encoding(file)
    if isinstance(encoding, Question):
        # Its evidence quotes words of the file, which are names.
        raise InvalidRequest("its encoding cannot be recognized; save it as CSV in UTF-8", field="file")
    delimiter = decide_delimiter(file, encoding=encoding.value)
    return read_text(
        file, encoding=encoding.value, delimiter=delimiter.decision.value, sep_line=delimiter.sep_line
    )


def _filled(row: Row) -> bool:
    return bool(row.flaw) or any(cell.strip() for cell in row.cells)


async def _check_key(conn: Connection, key: bytes, *, now: datetime) -> None:
    """Refuse a key that makes other fingerprints than those stored: nothing would ever match."""
    try:
        await key_store.require(conn, key, now=now)
    except FingerprintKeyRefused as refused:
        raise InvalidRequest(str(refused), field="TETHER_FINGERPRINT_KEY") from None


def _exclude(
    report: DebitImportReport, problems: Sequence[Problem], on_problem: Callable[[Problem], None]
) -> None:
    report.excluded += 1
    report.problem_count += len(problems)
    report.problems.extend(problems[: _PROBLEMS_MAX - len(report.problems)])
    for problem in problems:
        on_problem(problem)


async def _take(
    good: Sequence[ImportedDebit],
    deps: Importing,
    *,
    report: DebitImportReport,
    on_problem: Callable[[Problem], None],
) -> None:
    """Store a batch in one transaction, and count its results once it is committed."""
    for races in range(1, _RACES_MAX + 1):
        try:
            taken = await _store(good, deps)
            break
        except psycopg.errors.UniqueViolation:
            # Another import stored one of these meanwhile; now it can be compared.
            if races == _RACES_MAX:
                raise
    for problems in taken.contradicting:
        _exclude(report, problems, on_problem)
    report.imported += len(taken.fresh)
    report.there_already += taken.there_already
    report.states = dict(Counter(report.states) + Counter(attempt.state for _, attempt in taken.fresh))
    sums = Counter(report.amounts_minor)
    for item, _ in taken.fresh:
        sums[item.currency] += item.amount_minor
    report.amounts_minor = dict(sums)
    report.listed += taken.listed
    report.woken += taken.woken
    report.replayed += taken.replayed


class _Taken(msgspec.Struct):
    """The result of a batch."""

    fresh: list[tuple[ImportedDebit, Attempt]] = []
    there_already: int = 0
    contradicting: list[tuple[Problem, ...]] = []
    listed: int = 0
    woken: int = 0
    replayed: int = 0


async def _store(good: Sequence[ImportedDebit], deps: Importing) -> _Taken:
    async with transaction(deps.pool) as conn:
        now = await timestamp(conn)
        await _check_key(conn, deps.fingerprint_key, now=now)
        policy = await return_policies.active_to_decide(conn, built_in=deps.policy)
        stored = await billing_attempts.locked_by_ids(
            conn,
            transaction_ids=[debit.transaction_id for debit in good],
            unique_ids=[debit.unique_id for debit in good if debit.unique_id],
        )
        taken = _compared(good, stored, deps)
        if deps.dry_run:
            return taken
        await imported_attempts.add(conn, taken.fresh, now=now)
        taken.listed = await _list_returned(conn, taken.fresh, policy, now=now)
        # Of all rows, not of the new ones alone: a notification may have been deferred while its payment was committed.
        known = [debit.unique_id for debit in good if debit.unique_id]
        taken.woken, taken.replayed = await webhook_events.wake_known(conn, known, now=now)
        if taken.fresh:
            await audit.record(
                conn,
                audit.operator(),
                "debits.imported",
                subject="account",
                subject_id=deps.account,
                after=facts(debits=len(taken.fresh), listed=taken.listed),
                now=now,
            )
    return taken


def _compared(good: Sequence[ImportedDebit], stored: Sequence[Attempt], deps: Importing) -> _Taken:
    """Find the new rows of a batch, compared with stored rows and the rows before them."""
    known: dict[str, list[Attempt]] = {}

    def note(attempt: Attempt) -> None:
        for key in {f"t {attempt.transaction_id}", f"u {attempt.unique_id}"}:
            known.setdefault(key, []).append(attempt)

    for attempt in stored:
        note(attempt)
    taken = _Taken()
    for debit in good:
        fingerprint = ibans.fingerprint(debit.iban, key=deps.fingerprint_key)
        candidates = chain(known.get(f"t {debit.transaction_id}", ()), known.get(f"u {debit.unique_id}", ()))
        current_status = compare(debit, candidates, account=deps.account, fingerprint=fingerprint)
        if current_status == "new":
            attempt = debit.attempt(account=deps.account, fingerprint=fingerprint)
            note(attempt)
            taken.fresh.append((debit, attempt))
        elif current_status == "there already":
            taken.there_already += 1
        else:
            taken.contradicting.append(current_status)
    return taken


async def _list_returned(
    conn: Connection, fresh: Sequence[tuple[ImportedDebit, Attempt]], policy: ReturnPolicy, *, now: datetime
) -> int:
    """Make the blacklist entries of debits that were already returned."""
    asked = (entry(item, fingerprint=at.iban_fingerprint, policy=policy) for item, at in fresh)
    entries = [
        ManualEntry(
            action="block" if item.action == "block" else "hold",
            reason_code=item.reason_code,
            note="A debit of another system came back.",
            iban_fingerprint=item.iban_fingerprint,
            iban_masked=item.iban_masked,
            policy_version=item.policy_version,
        )
        for item in asked
        if item is not None
    ]
    if not entries:
        return 0
    result = [(item.transaction_id, item.reason_code or "") for item, _ in fresh]
    made = await blacklist.enter(conn, entries, source="import", added_by="attempts import", now=now)
    await blacklist.link_imported(conn, result)
    return len(made)


def add_commands(commands: Any) -> None:
    """Add `attempts import` to the command line."""
    attempts = commands.add_parser("attempts", help="billing attempts")
    kinds = attempts.add_subparsers(required=True, metavar="COMMAND")
    parser = kinds.add_parser(
        "import",
        help="import debits that another system submitted",
        description=__doc__,
        epilog=f"Columns: {', '.join(FIELDS)}. Exit code 1: rows were excluded.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="a CSV, one debit a row")
    parser.add_argument("--dry-run", action="store_true", help="read and compare only; store nothing")
    parser.add_argument(
        "--account",
        default="default",
        metavar="NAME",
        help="the gateway account that the debits were submitted with (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="the report for programs")
    parser.set_defaults(do=_import, needs=("DATABASE_URL",))


def _import(args: argparse.Namespace, settings: Settings) -> int:
    def on_problem(problem: Problem) -> None:
        if not args.json:
            where = f"row {problem.row:,}" + (f", {problem.column}" if problem.column else "")
            cell = f" “{problem.excerpt}”" if problem.excerpt else ""
            _say(f"{where}:{cell} {problem.note} ({problem.code})")

    def progress(rows: int) -> None:
        sys.stderr.write(f"{rows:,} rows\n")

    for warning in settings.warnings:
        sys.stderr.write(f"{warning}\n")
    report = asyncio.run(_imported(args, settings, on_problem=on_problem, progress=progress))
    if args.json:
        _say(msgspec.json.encode(report).decode())
    else:
        for line in _summary(report, dry_run=args.dry_run):
            _say(line)
    return 0 if report.done else 1


async def _imported(
    args: argparse.Namespace,
    settings: Settings,
    *,
    on_problem: Callable[[Problem], None],
    progress: Callable[[int], None],
) -> DebitImportReport:
    try:
        file = args.file.open("rb")
    except OSError as exc:
        raise InvalidRequest(f"cannot be read ({exc.strerror})", field=str(args.file)) from exc
    with file:
        async with open_pool(settings.database_url, name="tether-attempts", max_size=1) as pool:
            async with connection(pool) as conn:
                names = {"default", *await gateway_accounts.all_accounts(conn, settings=settings)}
            if args.account not in names:
                raise InvalidRequest(
                    f"there is no such gateway account; there are {', '.join(sorted(names))}",
                    field="--account",
                )
            deps = Importing(
                pool,
                args.account,
                settings.fingerprint_key.encode(),
                built_in(parse_codes(settings.blacklist_codes)),
                args.dry_run,
            )
            return await import_attempts(file, deps, on_problem=on_problem, progress=progress)


def _summary(report: DebitImportReport, *, dry_run: bool) -> Iterator[str]:
    """Print the result of a file, in a few lines."""
    if report.passed_over:
        yield f"unknown columns: {', '.join(report.passed_over)}"
    would = "would be done: " if dry_run else ""
    yield (
        f"{would}imported {report.imported:,}, there already {report.there_already:,}, excluded {report.excluded:,}, "
        f"of {report.rows:,} rows"
    )
    if report.imported:
        sums = ", ".join(
            str(Money(amount, currency)) for currency, amount in sorted(report.amounts_minor.items())
        )
        states = ", ".join(f"{state} {count:,}" for state, count in sorted(report.states.items()))
        yield f"imported: {sums}; {states}"
    if report.listed:
        yield f"blacklist entries made for debits that had come back: {report.listed:,}"
    if report.woken or report.replayed:
        yield f"notifications that are applied now: waiting {report.woken:,}, parked {report.replayed:,}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
