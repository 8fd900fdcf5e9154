"""`tether notifications quarantine`, `reverify` and `passwords`: what no password verified, and which password verifies."""

from collections import Counter
from typing import Final

from tether_client.command.arguments import Commands, add, add_paging, add_reason, whole
from tether_client.command.context import Context
from tether_client.command.output import shown, table
from tether_client.quarantine import PasswordUse, QuarantineStatus, Reverified, ReverifyPreview, VerifiedCount

__all__ = ["add_to"]

_COLUMNS: Final = (
    ("id", "id"),
    ("account", "account"),
    ("of", "notification_id"),
    ("reports", "report_class"),
    ("payment", "attempt_id"),
    ("deliveries", "deliveries"),
    ("sender", "sender"),
    ("received", "received_at"),
)
_ORDER: Final = 500


def add_to(group: Commands) -> None:
    """Add the commands of this module to `tether notifications`."""
    item = add(
        group,
        "quarantine",
        _list,
        text="list notifications with an invalid signature that are kept, newest first",
        example="tether notifications quarantine --status",
    )
    item.add_argument("--status", action="store_true", help="only show how many are kept, and the limits")
    add_paging(item)

    item = add(
        group,
        "reverify",
        _reverify,
        text="take in the kept notifications that verify now, after a password was corrected",
        example='tether notifications reverify --reason "the password of default was wrong"',
    )
    item.add_argument("--dry-run", action="store_true", help="only show how many would verify, by password")
    add_reason(item, is_required=False)

    item = add(
        group,
        "passwords",
        _passwords,
        text="show which password verified how many notifications",
        example="tether notifications passwords --days 60",
    )
    item.add_argument(
        "--days", type=whole(1, 90), default=30, metavar="N", help="the last days (default: 30, at most 90)"
    )


def _list(context: Context) -> int:
    if context.args.status:
        status = context.client.quarantine_status()
        context.output.result(status, lambda: _status_text(status))
        return 0
    return context.listed(context.client.quarantine, _COLUMNS)


def _reverify(context: Context) -> int:
    if context.args.dry_run:
        preview = context.client.preview_reverify()
        context.output.result(preview, lambda: _preview_text(preview))
        return 0
    done = context.client.reverify(reason=context.args.reason or "", limit=_ORDER)
    while not done.is_finished:
        more = context.client.reverify(reason=context.args.reason or "", limit=_ORDER)
        done = _joined(done, more)
        if not more.genuine:
            break
    context.output.result(done, lambda: _done_text(done))
    return 0


def _passwords(context: Context) -> int:
    uses = context.client.passwords(days=context.args.days)
    context.output.result(uses, lambda: _uses_text(uses))
    return 0


def _joined(first: Reverified, second: Reverified) -> Reverified:
    """Two orders as one; what stayed is as the second found it."""
    counts = Counter[tuple[str, str, str]]()
    for part in (*first.by_password, *second.by_password):
        counts[(part.account, part.place, part.tag)] += part.count
    return Reverified(
        genuine=first.genuine + second.genuine,
        by_password=[
            VerifiedCount(account=account, place=place, tag=tag, count=count)
            for (account, place, tag), count in sorted(counts.items())
        ],
        recorded=first.recorded + second.recorded,
        repeated=first.repeated + second.repeated,
        conflicting=first.conflicting + second.conflicting,
        counted=first.counted + second.counted,
        invalid=second.invalid,
        unopenable=second.unopenable,
        is_finished=second.is_finished,
        explanation=second.explanation,
    )


def _status_text(status: QuarantineStatus) -> str:
    if not status.is_kept:
        return "nothing is kept: TETHER_SECRETS_KEY is not set\n"
    rows = [
        (
            quota.account or "none",
            "known" if quota.is_known else "unknown",
            quota.rows,
            quota.size_bytes,
            quota.oldest_at,
        )
        for quota in status.quotas
    ]
    bounds = f"kept for {status.days} days, at most {status.rows_max:,} rows and {status.bytes_max:,} bytes for each line of this table\n"
    return table(("account", "debits", "rows", "bytes", "oldest"), rows) + bounds


def _preview_text(preview: ReverifyPreview) -> str:
    lines = [f"{preview.genuine:,} of {preview.checked:,} verify now"]
    return _with_passwords(lines, preview)


def _done_text(done: Reverified) -> str:
    text = (
        f"{done.genuine:,} verified and were taken in: {done.recorded:,} recorded, {done.repeated:,} repeated, "
        f"{done.conflicting:,} conflicting, {done.counted:,} counted"
    )
    lines = [text]
    return _with_passwords(lines, done)


def _with_passwords(lines: list[str], found: ReverifyPreview | Reverified) -> str:
    lines += [
        f"  {shown(part.account)} {shown(part.place)} ({shown(part.tag)}): {part.count:,}"
        for part in found.by_password
    ]
    lines.append(f"{found.invalid:,} do not verify, {found.unopenable:,} cannot be opened")
    if found.explanation:
        lines.append(shown(found.explanation))
    return "\n".join(lines) + "\n"


def _uses_text(uses: list[PasswordUse]) -> str:
    rows = [
        (use.account, use.place or "not configured", use.tag, use.verified, use.reverified, use.last_on)
        for use in uses
    ]
    advice = "".join(
        f"{shown(use.account)} {shown(use.place or use.tag)}: {shown(use.advice)}\n" for use in uses
    )
    return table(("account", "password", "tag", "verified", "reverified", "last"), rows) + advice
