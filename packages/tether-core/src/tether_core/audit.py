"""
The audit: who did what, from where, and why.

Each action of a person or a program through the API, the console or a command line is one row, written in the transaction of
the action. A row is never changed. It holds ids, states, amounts and masked values only, so that erasing a debtor needs no
exception for the audit.

>>> facts(state="paused", iban="DE89370400440532013000", reason="see DE89 3704 0044 0532 0130 00")
{'state': 'paused', 'iban': '***', 'reason': 'see DE89**************3000'}
>>> facts(name="Ada Lovelace", filename="may.csv")
{'name': '***', 'filename': 'may.csv'}
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from tether_core import redaction

__all__ = [
    "ACTIONS",
    "Action",
    "Actor",
    "ActorKind",
    "Fact",
    "change_text",
    "facts",
    "reason_text",
]

ActorKind: TypeAlias = Literal["user", "api_key", "command"]
Fact: TypeAlias = str | int | float | bool | None
Action: TypeAlias = Literal[
    "account.disabled",
    "account.enabled",
    "account.paused",
    "account.resumed",
    "account.stored",
    "api_key.created",
    "api_key.revoked",
    "archive.read",
    "blacklist.added",
    "blacklist.imported",
    "blacklist.lifted",
    "bulk.ordered",
    "bulk.stopped",
    "chargeback.forgiven",
    "check_file.received",
    "check_file.removed",
    "checks.requested",
    "collection_plan.added",
    "collection_plan.ended",
    "collection_plan.enrolled",
    "collection_plan.paused",
    "collection_plan.resumed",
    "debits.imported",
    "debtor.edited",
    "debtor.erased",
    "debtor.exported",
    "difference.acknowledged",
    "due_item.recovered",
    "due_item.waived",
    "fingerprint_key.replaced",
    "inquiry.ordered",
    "layout_answer.deleted",
    "mandate.added",
    "mandate.amended",
    "mandate.cancelled",
    "notification.replayed",
    "outcome.stated",
    "quarantine.reverified",
    "queue.cleared",
    "pre_notifications.given",
    "pre_notifications.ordered",
    "preflight.made",
    "queue.paused",
    "queue.resumed",
    "queue.retried",
    "refund.ordered",
    "refusals.released",
    "relay.created",
    "relay.revoked",
    "report_fetches.requested",
    "return_policy.added",
    "return_policy.switched",
    "return_policy.tried",
    "run.cancelled",
    "run.ordered",
    "run.paused",
    "run.released",
    "run.resumed",
    "run.voided",
    "schedule.ended",
    "schedule.paused",
    "schedule.resumed",
    "secrets.resealed",
    "session.begun",
    "session.ended",
    "statement_text.removed",
    "statement_text.stored",
    "subscriber.added",
    "subscriber.changed",
    "subscriber.removed",
    "subscriber.replayed",
    "subscriber.secret_rotated",
    "upload.answered",
    "upload.debtors_excluded",
    "upload.received",
    "upload.withdrawn",
    "user.backup_codes_replaced",
    "user.bound",
    "user.changed",
    "user.created",
    "user.disabled",
    "user.enabled",
    "user.password_changed",
    "user.password_reset",
    "user.second_factor_enrolled",
    "user.second_factor_removed",
    "user.unbound",
    "void.ordered",
    "workers.restarted",
]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
_REASON_MAX: Final = 500
# Of an address to the gateway, of a life cycle here.
_OWN: Final = frozenset({"state"})
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]+")


class Actor(msgspec.Struct, frozen=True):
    """
    Who acts.

    Attributes:
        kind: "user" for a person of the console, "api_key" for a program, "command" for a command line on a machine of Tether.
        label: The name of the user, of the key, or of the operating system's user.
        id: The row of the user or of the key; `None` for keys of the environment and for commands.
        address: The IP address of the client; `None` for commands.
    """

    kind: ActorKind
    label: str
    id: int | None = None
    address: str | None = None


def facts(**values: Fact) -> dict[str, Fact]:
    """
    What the audit keeps of a state before or after an action.

    Returns:
        The values by their names. A field with a personal name is masked with any content, and so is everything in a text
        that looks like an IBAN.
    """
    return {name: _masked(name, value) for name, value in values.items()}


def _masked(name: str, value: Fact) -> Fact:
    if not isinstance(value, str):
        return value
    return "***" if name not in _OWN and redaction.is_personal(name) and value else redaction.text(value)


def change_text(before: Mapping[str, Fact] | None, after: Mapping[str, Fact] | None) -> str:
    """
    The change of an action as a line for people.

    Args:
        before: Fields before the action; `None` where nothing existed.
        after: The same fields after it.

    Returns:
        Fields with their values, separated by semicolons; "" without a field.

    >>> change_text({"state": "running", "account": "default"}, {"state": "paused", "account": "default"})
    'state: running to paused; account: default'
    >>> change_text(None, {"dry_run": False, "rows": 7, "note": None})
    'dry_run: no; rows: 7'
    """
    old, new = before or {}, after or {}
    parts = []
    for name in dict.fromkeys((*old, *new)):
        was, is_now = _written(old.get(name)), _written(new.get(name))
        if was and is_now and was != is_now:
            parts.append(f"{name}: {was} to {is_now}")
        elif is_now:
            parts.append(f"{name}: {is_now}")
        elif was:
            parts.append(f"{name} was {was}")
    return "; ".join(parts)


def _written(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def reason_text(reason: str | None) -> str | None:
    r"""
    A person's reason as the audit keeps it: on one line, at most 500 characters, IBANs masked; `None` for an empty one.

    Args:
        reason: As the person wrote it.

    >>> reason_text(" asked by phone,\n DE89370400440532013000 ")
    'asked by phone, DE89**************3000'
    """
    if reason is None:
        return None
    # Masked first, so that the cut leaves no part of an IBAN.
    text = redaction.text(" ".join(_UNPRINTABLE.sub(" ", reason).split()))
    return text[:_REASON_MAX] or None
