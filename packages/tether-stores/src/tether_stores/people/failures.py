"""Failed sign-ins: one short function per query of `failures.sql`."""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from tether_core.people.addresses import group
from tether_core.people.sign_in import COUNTERS, Counter, wait_s

from tether_stores.postgres import Connection
from tether_stores.queries import load

__all__ = ["clear", "count", "forgive"]

_SQL: Final = load("people/failures")
_RESET_AFTER: Final = timedelta(days=1)
_PRUNED: Final = 100


def _subjects(name: str | None, address: str | None) -> dict[Counter, bytes]:
    texts: dict[Counter, str] = {"address": group(address)}
    if name is not None:
        texts |= {"user_and_address": f"{name}\x00{group(address)}", "user": name}
    return {
        counter: hashlib.sha256(texts[counter].encode("utf-8", "replace")).digest()
        for counter in COUNTERS
        if counter in texts
    }


async def count(conn: Connection, name: str | None, *, address: str | None, now: datetime) -> int:
    """
    Count a try to sign in, before it is checked.

    Args:
        name: As the person wrote it, in lower case; no user need have it. `None` where it is not known yet: only the address is counted.
        address: Of the client.

    Returns:
        0 where the try may be checked; otherwise seconds to wait, and the try is not counted.
    """
    subjects = _subjects(name, address)
    parameters = _parameters(subjects, tuple(subjects))
    waits = [0.0]
    for counter, failures, failed_at in await (await conn.execute(_SQL["held"], parameters)).fetchall():
        # A try that came after this one may have been counted before it: no time has passed then.
        passed_s = max(0.0, (now - failed_at).total_seconds())
        if (wait := wait_s(failures, counter=counter)) and now - failed_at < _RESET_AFTER:
            waits.append(wait - passed_s)
    if max(waits) > 0:
        return int(max(waits)) + 1
    reset_before = now - _RESET_AFTER
    await conn.execute(_SQL["prune"], {"reset_before": reset_before, "limit": _PRUNED})
    await conn.execute(_SQL["count"], {**parameters, "reset_before": reset_before, "now": now})
    return 0


async def clear(conn: Connection, name: str, *, address: str | None) -> None:
    """Forget the tries of a user after a complete sign-in. Those that the address made for other users stay."""
    subjects = _subjects(name, address)
    parameters = {f"{counter}_digest": digest for counter, digest in subjects.items()}
    await conn.execute(_SQL["clear"], parameters)


async def forgive(conn: Connection, *, address: str | None) -> None:
    """Take back one try of an address, which was none of a stranger."""
    await conn.execute(_SQL["forgive"], _parameters(_subjects(None, address), ("address",)))


def _parameters(subjects: dict[Counter, bytes], counters: Sequence[Counter]) -> dict[str, object]:
    return {"counters": list(counters), "digests": [subjects[counter] for counter in counters]}
