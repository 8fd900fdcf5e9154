"""`tether runs`: list, show, pause, resume, cancel and void billing runs."""

import argparse
from typing import Final

from tether_client.billing import RunDetail, RunResponse
from tether_client.command.arguments import (
    Commands,
    add,
    add_filters,
    add_key,
    add_paging,
    add_reason,
    add_yes,
    whole,
)
from tether_client.command.context import Context
from tether_client.command.output import money, shown
from tether_client.refunds import RunVoidPreview

__all__ = ["add_commands", "follow"]

_COLUMNS: Final = (
    ("id", "id"),
    ("state", "state"),
    ("upload", "upload_id"),
    ("due item", "options.due_item"),
    ("debits", "count"),
    ("amount", "amount_minor"),
    ("by", "created_by"),
    ("ordered", "created_at"),
    ("paused because", "pause_reason"),
)


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("runs", help="billing runs: list, show, pause, resume, cancel, void")
    group = parser.add_subparsers(required=True, metavar="COMMAND")

    item = add(
        group,
        "list",
        _list,
        text="list billing runs, newest first",
        example="tether runs list --status paused",
    )
    add_filters(
        item,
        status="only runs in this state",
        upload="only runs of this upload",
        account="only runs of this gateway account",
    )
    add_paging(item)

    item = add(group, "show", _show, text="show a run and its progress", example="tether runs show 3 --wait")
    _add_id(item)
    item.add_argument("--wait", action="store_true", help="wait for the end, and show progress")

    item = add(
        group,
        "pause",
        _pause,
        text="pause a run: no further submission begins",
        example='tether runs pause 3 --reason "wrong amounts"',
    )
    _add_id(item)
    add_reason(item)

    item = add(
        group,
        "resume",
        _resume,
        text="go on with a paused run, or release one as the second person",
        example="tether runs resume 3",
    )
    _add_id(item)
    add_reason(item, is_required=False)

    item = add(
        group,
        "cancel",
        _cancel,
        text="end a run; what was not submitted stays so",
        example='tether runs cancel 3 --reason "wrong file"',
    )
    _add_id(item)
    add_reason(item, is_required=False)
    add_yes(item)

    item = add(
        group,
        "void",
        _void,
        text="preview the void of all debits of a run, and order it",
        example='tether runs void 3 --reason "sent by mistake"',
    )
    _add_id(item)
    add_reason(item)
    item.add_argument("--dry-run", action="store_true", help="only preview it")
    add_key(item)
    add_yes(item)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_id", type=whole(1), metavar="RUN", help="the id of the run")


def _list(context: Context) -> int:
    args = context.args
    return context.listed(
        context.client.runs, _COLUMNS, status=args.status, upload=args.upload, account=args.account
    )


def _show(context: Context) -> int:
    return follow(context, context.args.run_id, wait=context.args.wait)


def follow(context: Context, run_id: int, *, wait: bool) -> int:
    """
    Write a run, and with *wait* once it has ended.

    Returns:
        0; with *wait*, 1 where it was paused or cancelled.
    """
    if wait:
        detail = context.client.await_run(run_id, on_progress=lambda found: _progress(context, found))
    else:
        detail = context.client.run(run_id)
    context.output.result(detail, lambda: _text(detail))
    return 1 if wait and detail.run.state != "finished" else 0


def _pause(context: Context) -> int:
    return _changed(context, context.client.pause_run(context.args.run_id, reason=context.args.reason))


def _resume(context: Context) -> int:
    return _changed(context, context.client.resume_run(context.args.run_id, reason=context.args.reason))


def _cancel(context: Context) -> int:
    detail = context.client.run(context.args.run_id)
    ready = detail.steps.get("ready")
    left = (
        f"{ready.count:,} debits of {money(ready.amount_minor)} will not be submitted"
        if ready
        else "no debit is left"
    )
    context.confirm(f"Cancel run {detail.run.id}: {left}?")
    return _changed(context, context.client.cancel_run(detail.run.id, reason=context.args.reason))


def _changed(context: Context, run: RunResponse) -> int:
    context.output.result(run, lambda: _line(run) + "\n")
    return 0


def _void(context: Context) -> int:
    args = context.args
    if args.dry_run or not args.yes:
        preview = context.client.preview_run_void(args.run_id, reason=args.reason)
        if args.dry_run:
            context.output.result(preview, lambda: _void_text(preview))
            return 0
        for line in _void_text(preview).splitlines():
            context.output.note(line)
        context.confirm(f"Void {preview.voids.count:,} debits of {money(preview.voids.amount_minor)}?")
    order = context.client.void_run(args.run_id, reason=args.reason, idempotency_key=args.idempotency_key)
    context.output.result(order, lambda: f"void {order.id} of run {order.run_id} is {order.state}\n")
    return 0


def _void_text(preview: RunVoidPreview) -> str:
    lines = [f"{preview.voids.count:,} debits of {money(preview.voids.amount_minor)} would be voided"]
    lines += [
        f"  not voided: {some.count:,} of {money(some.amount_minor)}: {shown(some.text)}"
        for some in preview.refused
    ]
    return "\n".join(lines) + "\n"


def _progress(context: Context, detail: RunDetail) -> None:
    ended = detail.steps.get("ended")
    done = ended.count if ended else 0
    context.output.progress.bar(
        done, detail.run.count, f"{detail.run.state}: {done:,} of {detail.run.count:,} debits"
    )


def _line(run: RunResponse) -> str:
    due_item = shown(run.options.due_item)
    return f"run {run.id}  {run.state}  upload {run.upload_id}, {due_item}: {run.count:,} debits of {money(run.amount_minor)}"


def _text(detail: RunDetail) -> str:
    run, gateway = detail.run, detail.gateway
    lines = [_line(run)]
    lines += [
        f"  {name}: {some.count:,} of {money(some.amount_minor)}" for name, some in detail.states.items()
    ]
    if run.skipped:
        lines.append(f"  not billed: {shown(run.skipped)}")
    if run.pause_reason:
        lines.append(f"  paused: {shown(run.pause_reason)}")
    if run.warning:
        lines.append(f"  warning: {shown(run.warning)}")
    lines.append(f"  refused by the gateway: {detail.refusals.refused:,} of {detail.refusals.answered:,}")
    lines.append(f"  account {shown(gateway.account)}: circuit breaker {gateway.breaker}")
    return "\n".join(lines) + "\n"
