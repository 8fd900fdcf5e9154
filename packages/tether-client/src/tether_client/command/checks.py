"""`tether checks`: checks of an upload's accounts before it is billed."""

import argparse
from functools import partial
from pathlib import Path
from typing import Final

from tether_client.command.arguments import Commands, add, add_paging, add_yes, whole
from tether_client.command.context import Context, rows_text
from tether_client.command.output import new_file, shown, table
from tether_client.errors import Refused
from tether_client.vop import CheckFile, NameCounts, VopBudget, VopChecks, VopReport

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("debtor", "debtor_id"),
    ("state", "state"),
    ("result", "result"),
    ("score", "score"),
    ("name", "name"),
    ("bank", "bank_name"),
    ("provider", "provider"),
    ("checked", "checked_at"),
)

_EVERYWHERE: Final = (_COLUMNS[0], ("upload", "upload_id"), *_COLUMNS[1:])

_ROWS: Final = (
    ("row", "row_number"),
    ("iban", "iban_masked"),
    ("holder", "name"),
    ("state", "state"),
    ("result", "result"),
    ("score", "score"),
    ("name", "name_match"),
    ("bank", "bank_name"),
    ("provider", "provider"),
)

_FILES: Final = (
    ("id", "id"),
    ("account", "account"),
    ("rows", "row_count"),
    ("checked", "checked"),
    ("parked", "parked"),
    ("by", "created_by"),
    ("sent", "created_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser(
        "checks", help="checks of accounts before billing: order, list, all, report, budget, and of files"
    )
    group = parser.add_subparsers(required=True, metavar="COMMAND")
    item = add(
        group,
        "order",
        _order,
        text="check the accounts and names of an upload, or of a sample of its debtors",
        example="tether checks order 12 --share 0.1",
    )
    _add_id(item)
    item.add_argument(
        "--share",
        type=_share,
        default=1.0,
        metavar="PART",
        help="the part of the debtors that is checked, above 0, up to 1 (default: all)",
    )
    item.add_argument(
        "--account",
        default="default",
        metavar="ACCOUNT",
        help="the gateway account whose budget pays for the calls (default: %(default)s)",
    )
    item.add_argument("--again", action="store_true", help="also those that were checked before")
    add_yes(item)
    item = add(
        group,
        "list",
        _list,
        text="list the checks of an upload",
        example="tether checks list 12 --result mismatch",
    )
    _add_id(item)
    _add_filters(item)
    item.add_argument(
        "--limit", type=whole(1, 500), default=50, metavar="ROWS", help="at most this many rows (default: 50)"
    )
    item = add(
        group,
        "all",
        _everywhere,
        text="list the checks of all uploads, the newest debtors first",
        example="tether checks all --result mismatch",
    )
    _add_filters(item)
    add_paging(item)
    item = add(
        group,
        "report",
        _report,
        text="show how many names of an upload matched, by bank",
        example="tether checks report 12",
    )
    _add_id(item)
    add(
        group,
        "budget",
        _budget,
        text="show the calls to the provider with their limits, and the banks whose accounts are not checked now",
        example="tether checks budget",
    )
    _add_files(group)


def _add_files(group: Commands) -> None:
    """Add the commands about accounts and names that do not become debtors."""
    item = add(
        group,
        "send",
        _send,
        text="check accounts and names of a CSV file, without making debtors of them",
        example="tether checks send names.csv",
    )
    item.add_argument("file", type=Path, metavar="FILE", help="CSV with a column iban and a column name")
    item.add_argument(
        "--account",
        default="default",
        metavar="ACCOUNT",
        help="the gateway account whose budget pays for the calls (default: %(default)s)",
    )
    add(group, "files", _files, text="list check files and their progress", example="tether checks files")
    item = add(
        group,
        "rows",
        _rows,
        text="list the rows of a check file with their results, account numbers masked",
        example="tether checks rows 3 --result mismatch",
    )
    _add_file_id(item)
    _add_filters(item)
    add_paging(item)
    item = add(
        group,
        "file-report",
        _file_report,
        text="show how many names of a check file matched, by bank",
        example="tether checks file-report 3",
    )
    _add_file_id(item)
    item = add(
        group,
        "result",
        _result,
        text="write the rows of a check file with their results into a CSV file",
        example="tether checks result 3 result.csv",
    )
    _add_file_id(item)
    item.add_argument("file", type=Path, metavar="FILE", help="the file to write; it must not exist")
    item = add(
        group,
        "remove",
        _remove,
        text="remove a check file with its results",
        example="tether checks remove 3",
    )
    _add_file_id(item)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--result",
        metavar="RESULT",
        help="only verified, likely_verified, inconclusive, mismatch or rejected",
    )
    parser.add_argument("--state", metavar="STATE", help="only waiting, checked or parked")


def _add_file_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file_id", type=whole(1), metavar="CHECK_FILE", help="the id of the check file")


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("upload_id", type=whole(1), metavar="UPLOAD", help="the id of the upload")


def _share(text: str) -> float:
    try:
        part = float(text)
    except ValueError:
        part = 0.0
    if not 0.0 < part <= 1.0:
        raise argparse.ArgumentTypeError("must be above 0, and at most 1")
    return part


def _send(context: Context) -> int:
    args = context.args
    try:
        content = args.file.read_bytes()
    except OSError as exc:
        raise Refused(f"{args.file} cannot be read: {exc.strerror}") from None
    return _files_shown(context, context.client.send_check_file(content, account=args.account))


def _files(context: Context) -> int:
    found = context.client.check_files()
    context.output.result(found, lambda: rows_text(found, _FILES))
    return 0


def _rows(context: Context) -> int:
    args = context.args
    listing = partial(context.client.check_file_rows, args.file_id)
    return context.listed(listing, _ROWS, result=args.result, status=args.state)


def _file_report(context: Context) -> int:
    found = context.client.check_file_report(context.args.file_id)
    context.output.result(found, lambda: _report_text(found))
    return 0


def _result(context: Context) -> int:
    args = context.args
    new_file(args.file, context.client.check_file_result(args.file_id))
    return _files_shown(context, context.client.check_file(args.file_id))


def _remove(context: Context) -> int:
    return _files_shown(context, context.client.remove_check_file(context.args.file_id))


def _files_shown(context: Context, found: CheckFile) -> int:
    context.output.result(found, lambda: rows_text([found], _FILES))
    return 0


def _order(context: Context) -> int:
    args = context.args
    what = "the accounts" if args.share == 1 else f"{args.share:.1%} of the accounts"
    context.confirm(f"Check {what} of upload {args.upload_id}? The provider may charge for each.")
    done = context.client.request_checks(
        args.upload_id, again=args.again, share=args.share, account=args.account
    )
    context.output.result(done, lambda: f"{done.requested:,} accounts will be checked\n")
    return 0


def _list(context: Context) -> int:
    args = context.args
    found = context.client.checks(args.upload_id, result=args.result, status=args.state, limit=args.limit)
    context.output.result(found, lambda: _checks_text(found))
    return 0


def _everywhere(context: Context) -> int:
    args = context.args
    return context.listed(
        context.client.checks_everywhere, _EVERYWHERE, result=args.result, status=args.state
    )


def _checks_text(found: VopChecks) -> str:
    results = ", ".join(f"{result} {count:,}" for result, count in found.results.items())
    head = f"{found.unrequested:,} not requested, {found.waiting:,} waiting, {found.parked:,} parked"
    rows = [[shown(getattr(row, field)) for _, field in _COLUMNS] for row in found.checks.items]
    return f"{head}{'; ' if results else ''}{results}\n" + table([title for title, _ in _COLUMNS], rows)


def _report(context: Context) -> int:
    found = context.client.checks_report(context.args.upload_id)
    context.output.result(found, lambda: _report_text(found))
    return 0


def _counts(names: NameCounts) -> list[int]:
    return [names.match, names.near, names.none, names.not_available]


def _report_text(found: VopReport) -> str:
    rows: list[list[str | int]] = [["all banks", *_counts(found.names)]]
    rows += [[bank.bank_name or bank.bank or "unknown", *_counts(bank.names)] for bank in found.banks]
    titles = ["bank", "match", "near", "none", "not available"]
    return table(titles, rows) + f"{found.reused:,} use the result of an earlier check\n"


def _budget(context: Context) -> int:
    found = context.client.checks_budget()
    context.output.result(found, lambda: _budget_text(found))
    return 0


def _budget_text(found: VopBudget) -> str:
    if not found.is_metered:
        return "No service is called: TETHER_VOP_URL is not set\n"
    lines = [
        f"at most {shown(found.day_max or 'any')} calls a day, {shown(found.month_max or 'any')} a month"
    ]
    lines += [
        f"{row.account}: {row.day_calls:,} today, {row.month_calls:,} this month" for row in found.calls
    ]
    lines += [
        f"accounts at bank {row.bank} are not checked until {shown(row.rest_until)}" for row in found.resting
    ]
    return "\n".join(lines) + "\n"
