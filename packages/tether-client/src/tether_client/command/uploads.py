"""`tether uploads`: add, list, show, answer, withdraw, examine and bill files of debtors."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tether_client.billing import RunOrder, RunPreview
from tether_client.command import upload_files
from tether_client.command.arguments import (
    Commands,
    add,
    add_filters,
    add_key,
    add_paging,
    add_reason,
    add_yes,
    amount,
    json_object,
    whole,
)
from tether_client.command.context import Context
from tether_client.command.output import money, shown, table
from tether_client.command.runs import follow
from tether_client.errors import Refused
from tether_client.uploads import ChargedBack, Upload, UploadDetail, UploadTotals

__all__ = ["add_commands"]

_COLUMNS: Final = (
    ("id", "id"),
    ("state", "state"),
    ("file", "filename"),
    ("rows", "row_counts.rows"),
    ("stored", "row_counts.stored"),
    ("amount", "row_counts.amount_minor"),
    ("by", "added_by"),
    ("received", "created_at"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser(
        "uploads", help="files of debtors: add, list, show, answer, withdraw, bill, problems"
    )
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    item = add(
        group, "add", _add, text="upload a file of debtors", example="tether uploads add members.csv --wait"
    )
    item.add_argument("file", type=Path, metavar="FILE", help="CSV, XLSX, XLS, XLSB or ODS")
    for name, text in (
        ("mapping", 'field to column, such as {"iban": "Konto"}'),
        ("formats", 'how values are written, such as {"amount_format": "comma"}'),
        ("collect", 'column to the words whose rows are collected, such as {"S/H": ["S"]}'),
    ):
        item.add_argument(f"--{name}", type=json_object, metavar="JSON", help=text)
    item.add_argument("--encoding", metavar="NAME", help="the encoding of a text file, such as cp1252")
    item.add_argument("--keep-columns", action="store_true", help="store unknown columns with each debtor")
    item.add_argument("--dry-run", action="store_true", help="read and screen the file, but store no debtors")
    item.add_argument(
        "--force", action="store_true", help="store the file again even if it is stored already"
    )
    _add_wait(item)

    item = add(
        group,
        "list",
        _list,
        text="list uploads, newest first",
        example="tether uploads list --status needs_answer",
    )
    add_filters(
        item,
        status="only uploads in this state",
        filename="only uploads whose file name contains this",
        account="only uploads that were billed with this gateway account, and with no other",
    )
    add_paging(item)

    item = add(
        group,
        "show",
        _show,
        text="show an upload, its plan and its questions",
        example="tether uploads show 12",
    )
    _add_id(item)
    _add_wait(item)

    item = add(
        group,
        "answer",
        _answer,
        text="answer the questions of an upload, or have a failed one read again",
        example='tether uploads answer 12 \'{"formats": {"amount_format": "comma"}}\' --wait',
    )
    _add_id(item)
    item.add_argument(
        "answers",
        type=json_object,
        metavar="JSON",
        help="any of mapping, formats, encoding, collect, keep_columns, screening, remember",
    )
    _add_wait(item)

    item = add(
        group,
        "withdraw",
        _withdraw,
        text="withdraw an upload of which nothing was submitted",
        example='tether uploads withdraw 12 --reason "wrong month"',
    )
    _add_id(item)
    add_reason(item)
    add_yes(item)

    item = add(
        group,
        "bill",
        _bill,
        text="preview a billing run of an upload, and order it",
        example="tether uploads bill 12 --due-item 2026-03 --count-max 100",
    )
    _add_id(item)
    item.add_argument("--due-item", metavar="NAME", help="what the debtors owe once (default: once)")
    item.add_argument("--account", metavar="NAME", help="the gateway account (default: default)")
    item.add_argument(
        "--again", action="store_true", help="order the same due item again after its run has ended"
    )
    item.add_argument("--count-max", type=whole(1), metavar="N", help="at most this many debits")
    item.add_argument(
        "--total-max", type=amount, metavar="AMOUNT", help="at most this total, such as 1000.00"
    )
    item.add_argument("--debit-min", type=amount, metavar="AMOUNT", help="leave out debits below this amount")
    item.add_argument("--debit-max", type=amount, metavar="AMOUNT", help="leave out debits above this amount")
    item.add_argument("--canary-share", type=float, metavar="PART", help="the part submitted first, 0 to 1")
    item.add_argument("--usage", metavar="TEXT", help="the text on the debtors' bank statements")
    item.add_argument(
        "--notice-days",
        type=whole(1, 60),
        nargs="?",
        const=14,
        metavar="N",
        help="debit only debtors who were notified at least N days before (without N: 14)",
    )
    _add_run_options(item)
    item.add_argument("--dry-run", action="store_true", help="only preview the run")
    add_key(item)
    add_yes(item)
    _add_wait(item)
    _add_further(group)
    upload_files.add_to(group)


def _add_run_options(item: argparse.ArgumentParser) -> None:
    """Add the options of a run that few runs need."""
    item.add_argument(
        "--lifetime-max", type=amount, metavar="AMOUNT", help="at most this from one account, ever"
    )
    item.add_argument(
        "--tries-max", type=whole(1, 10), metavar="N", help="how often one due item may be tried"
    )
    item.add_argument(
        "--recent-days",
        type=whole(0, 3_650),
        metavar="N",
        help="leave out accounts with a try for another upload within N days",
    )
    item.add_argument(
        "--vop-score-min",
        type=whole(0, 100),
        metavar="SCORE",
        help="the least score of the check before billing",
    )
    item.add_argument("--merchant-name", metavar="TEXT", help="the creditor's name on the bank statements")
    item.add_argument(
        "--remote-ip", metavar="ADDRESS", help="the address from which the debtors agreed to the debits"
    )
    item.add_argument(
        "--override",
        action="append",
        metavar="VERDICT",
        help="bill debtors in spite of this verdict, such as recently_tried; may be given several times",
    )
    item.add_argument("--override-reason", metavar="TEXT", help="why; needed with --override, and stored")


def _add_further(group: Commands) -> None:
    """Add the commands about an upload that was read."""
    item = add(
        group,
        "totals",
        _totals,
        text="show what the debtors of an upload owe and what became of their debits, over all runs",
        example="tether uploads totals 12",
    )
    _add_id(item)

    item = add(
        group,
        "release",
        _release,
        text="release the gateway's refusals of an upload, so that they do not pause its next run",
        example='tether uploads release 12 --reason "the terminal was set up wrong"',
    )
    _add_id(item)
    add_reason(item)

    item = add(
        group,
        "exclude-charged-back",
        _exclude,
        text="exclude the debtors of an upload whose accounts have charged back a debit",
        example='tether uploads exclude-charged-back 12 --reason "asked by the bank"',
    )
    _add_id(item)
    item.add_argument("--dry-run", action="store_true", help="only say how many there are")
    add_reason(item, is_required=False)
    add_yes(item)

    item = add(
        group,
        "preflight",
        _preflight,
        text="make a pre-flight report: expected returns and fees from the own history, and go or no go",
        example="tether uploads preflight 12 --account default",
    )
    _add_id(item)
    item.add_argument(
        "--account", default="default", metavar="NAME", help="the gateway account (default: %(default)s)"
    )
    item.add_argument(
        "--vop-score-min",
        type=whole(0, 100),
        metavar="SCORE",
        help="the lowest score of the account check that the run will accept (default: none)",
    )
    item.add_argument("--last", action="store_true", help="show the last report; make no new one")

    item = add(
        group,
        "preflight-verify",
        _verify,
        text="verify a pre-flight report, as preflight --json wrote it",
        example="tether uploads preflight-verify report.json",
    )
    item.add_argument("file", type=Path, metavar="FILE", help="the report with its signature, JSON")


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("upload_id", type=whole(1), metavar="UPLOAD", help="the id of the upload")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait for the end, and show progress")


def _add(context: Context) -> int:
    args, output = context.args, context.output
    fields = {
        name: msgspec.json.encode(value).decode()
        for name in ("mapping", "formats", "collect")
        if (value := getattr(args, name)) is not None
    }
    fields |= {name: "true" for name in ("keep_columns", "dry_run", "force") if getattr(args, name)}
    if args.encoding:
        fields["encoding"] = args.encoding
    sent = context.client.add_upload(
        args.file,
        fields=fields,
        on_sent=lambda done, size: output.progress.bar(done, size, f"{done:,} of {size:,} bytes sent"),
    )
    # The note of the API names its own parameter.
    if sent.note:
        output.note(
            f"The same file was sent on {shown(sent.upload.created_at)} UTC as {shown(sent.upload.filename)}; this is that upload."
            " Give --force to store it again."
        )
    return _shown(context, sent.id)


def _list(context: Context) -> int:
    args = context.args
    return context.listed(
        context.client.uploads, _COLUMNS, status=args.status, filename=args.filename, account=args.account
    )


def _show(context: Context) -> int:
    return _shown(context, context.args.upload_id)


def _answer(context: Context) -> int:
    sent = context.client.answer_upload(context.args.upload_id, context.args.answers)
    return _shown(context, sent.id)


def _withdraw(context: Context) -> int:
    upload_id = context.args.upload_id
    found = context.client.upload(upload_id).upload
    counts = found.row_counts
    context.confirm(
        f"Withdraw upload {upload_id}, {found.filename}, with {counts.stored:,} debtors owing {money(counts.amount_minor)}?"
    )
    detail = context.client.withdraw_upload(upload_id, reason=context.args.reason)
    context.output.result(detail, lambda: _text(detail))
    return 0


def _bill(context: Context) -> int:
    args = context.args
    values = {
        "due_item": args.due_item,
        "account": args.account,
        "again": args.again or None,
        "count_max": args.count_max,
        "amount_max_minor": args.total_max,
        "debit_min_minor": args.debit_min,
        "debit_max_minor": args.debit_max,
        "canary_share": args.canary_share,
        "usage": args.usage,
        "notice_days": args.notice_days,
        "lifetime_max_minor": args.lifetime_max,
        "tries_max": args.tries_max,
        "recent_days": args.recent_days,
        "vop_score_min": args.vop_score_min,
        "merchant_name": args.merchant_name,
        "remote_ip": args.remote_ip,
        "overrides": _overrides(args.override, args.override_reason),
    }
    order = RunOrder(**{name: value for name, value in values.items() if value is not None})
    if args.dry_run or not args.yes:
        preview = context.client.preview_run(args.upload_id, order)
        if args.dry_run:
            context.output.result(preview, lambda: _preview_text(preview))
            return 1 if preview.ordered_before else 0
        if preview.ordered_before:
            raise Refused(preview.ordered_before)
        for line in _preview_text(preview).splitlines():
            context.output.note(line)
        context.confirm(f"Order {preview.count:,} debits of {money(preview.amount_minor)} in total?")
    run = context.client.order_run(args.upload_id, order, idempotency_key=args.idempotency_key)
    return follow(context, run.id, wait=args.wait)


def _overrides(verdicts: list[str] | None, reason: str | None) -> list[dict[str, Any]] | None:
    """What is ignored, as an order has it; `None` for nothing."""
    if bool(verdicts) != bool(reason):
        raise Refused("--override and --override-reason go together.")
    return [{"verdicts": verdicts, "reason": reason}] if verdicts else None


def _release(context: Context) -> int:
    args = context.args
    found = context.client.release_refusals(args.upload_id, reason=args.reason)
    context.output.result(
        found,
        lambda: (
            "".join(
                f"run {row.run_id}: {row.refused:,} of {row.answered:,} refusals released\n" for row in found
            )
            or "no run has refusals\n"
        ),
    )
    return 0


def _totals(context: Context) -> int:
    found = context.client.upload_totals(context.args.upload_id)
    context.output.result(found, lambda: _totals_text(found))
    return 0


def _totals_text(found: UploadTotals) -> str:
    lines = [f"runs: {shown(found.runs) or 'none'}"]
    lines += [
        f"{owed.currency}: {owed.debtors:,} debtors owe {money(owed.owed_minor)}; "
        f"{owed.unbilled:,} of them, with {money(owed.unbilled_minor)}, were never billed"
        for owed in found.owed
    ]
    rows = [
        [row.currency, row.state, row.debits, row.debtors, money(row.amount_minor).rjust(12)]
        for row in found.debits
    ]
    head = "\n".join(lines) + "\n"
    return head + (table(("currency", "state", "debits", "debtors", "amount"), rows) if rows else "")


def _exclude(context: Context) -> int:
    args, client = context.args, context.client
    found = client.exclude_charged_back(args.upload_id, dry_run=True)
    if not args.dry_run:
        if not args.reason:
            raise Refused("Give --reason: it is stored.")
        context.confirm(f"Exclude {_groups(found.excluded) or 'no debtors'}?")
        found = client.exclude_charged_back(args.upload_id, reason=args.reason)
    word = "would be excluded" if found.dry_run else "excluded"
    context.output.result(
        found,
        lambda: (
            f"{word}: {_groups(found.excluded) or 'none'}; "
            f"kept for a debit that is open or collected: {_groups(found.kept) or 'none'}\n"
        ),
    )
    return 0


def _groups(some: Sequence[ChargedBack]) -> str:
    return ", ".join(f"{row.count:,} debtors owing {money(row.amount_minor)} {row.currency}" for row in some)


def _preflight(context: Context) -> int:
    """Write a report; the exit code is 1 where it does not say go."""
    args, client = context.args, context.client
    made = (
        client.preflight(args.upload_id)
        if args.last
        else client.make_preflight(args.upload_id, account=args.account, vop_score_min=args.vop_score_min)
    )
    context.output.result(made, lambda: client.preflight_page(made.id))
    return 1 if made.verdict in {"no_go", "unknown"} else 0


def _verify(context: Context) -> int:
    """Say whether a report is unchanged; the exit code is 1 where it is not."""
    try:
        report = msgspec.json.decode(context.args.file.read_bytes(), type=dict[str, Any])
    except OSError as exc:
        raise Refused(f"{context.args.file} cannot be read: {exc.strerror}.") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Refused(
            f"{context.args.file} is no report. Give the file that `tether uploads preflight --json` has written."
        ) from exc
    found = context.client.verify_preflight(report)
    signed = (
        "signed by this installation and unchanged"
        if found.verified
        else "NOT signed by this installation, or changed"
    )
    stored = "stored" if found.stored else "not stored"
    context.output.result(found, lambda: f"{signed}; {stored}; its verdict is {shown(found.verdict)}\n")
    return 0 if found.verified else 1


def _shown(context: Context, upload_id: int) -> int:
    """Write an upload; with --wait, once it is read. The exit code is 1 where it needs a person or has failed."""
    if context.args.wait:
        detail = context.client.await_upload(upload_id, on_progress=lambda found: _progress(context, found))
    else:
        detail = context.client.upload(upload_id)
    context.output.result(detail, lambda: _text(detail))
    return 1 if context.args.wait and detail.upload.state in {"failed", "needs_answer", "withdrawn"} else 0


def _progress(context: Context, upload: Upload) -> None:
    text = f"{upload.state}: {upload.row_counts.rows:,} rows"
    context.output.progress.bar(upload.bytes_read, upload.size_bytes, text)


def _text(detail: UploadDetail) -> str:
    upload, counts = detail.upload, detail.upload.row_counts
    rows = f"stored {counts.stored:,} owing {money(counts.amount_minor)}, excluded {counts.excluded:,}, refused {counts.refused:,}"
    lines = [
        f"upload {upload.id}  {shown(upload.filename)}  {upload.state}",
        f"  {shown(detail.summary)}",
        f"  rows {counts.rows:,}: {rows}, skipped {counts.skipped:,}",
    ]
    if counts.verdicts:
        lines.append(f"  verdicts: {shown(counts.verdicts)}")
    if counts.problems:
        lines.append(f"  problems: {shown(counts.problems)}; see {detail.links.problems}?format=csv")
    if upload.failure:
        lines.append(f"  failure: {shown(upload.failure)}")
    if detail.withdrawal:
        lines.append(f"  withdrawn by {shown(detail.withdrawal.by)}: {shown(detail.withdrawal.reason)}")
    if detail.ahead:
        lines.append(f"  {detail.ahead:,} other uploads are read before it")
    lines += [f"  {shown(note)}" for note in detail.notes]
    for question in detail.plan.questions if detail.plan else ():
        choices = f" ({shown(question.choices)})" if question.choices else ""
        lines.append(
            f"  question {question.code}: {shown(question.ask)}{choices}\n    answer with {shown(question.answer)}"
        )
    for warning in detail.plan.warnings if detail.plan else ():
        lines.append(f"  warning: {shown(warning)}")
    return "\n".join(lines) + "\n"


def _expected(report: Mapping[str, Any]) -> Iterator[str]:
    yield ": ".join(filter(None, [str(report["verdict"]).replace("_", " "), " ".join(report["reasons"])]))
    for found in report["currencies"]:
        returned, fees = found["returned"], found["fees"]
        share = (
            "unknown"
            if returned is None
            else f"{returned['count']:,} ({returned['low_count']:,} to {returned['high_count']:,}) of {found['count']:,}"
        )
        costs = "unknown" if fees is None else f"{money(fees['low_minor'])} to {money(fees['high_minor'])}"
        yield f"{found['currency']}: expected returns {share}, expected fees {costs}"
        for part in found.get("excluded", ()):
            yield f"{found['currency']}: excluded, {part['verdict']}: {part['count']:,} of {money(part['amount_minor'])}"


def _preview_text(preview: RunPreview) -> str:
    lines = [
        f"{preview.count:,} debits of {money(preview.amount_minor)} in total, {preview.canaries:,} of them first",
        *(f"  not billed, {shown(verdict)}: {count:,}" for verdict, count in preview.skipped.items()),
        *(f"  warning: {shown(warned.text)}" for warned in preview.warnings),
    ]
    if preview.preflight is not None:
        lines += [f"  pre-flight: {shown(line)}" for line in _expected(preview.preflight)]
    if preview.ordered_before:
        lines.append(f"  refused: {shown(preview.ordered_before)}")
    rows = [
        [
            debtor.debtor_id,
            debtor.iban_masked,
            money(debtor.amount_minor).rjust(12),
            debtor.verdict,
            debtor.text,
        ]
        for debtor in preview.debtors[:20]
    ]
    return (
        "\n".join(lines)
        + "\n"
        + (table(("debtor", "iban", "amount", "verdict", "why"), rows) if rows else "")
    )
