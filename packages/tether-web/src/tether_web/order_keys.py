"""
`Idempotency-Key`: a client that lost the response to an order repeats the request and gets the same result.

```text
read the key ─► begin a transaction ─► lock the key ─► find it ─► the same request: its stored result, nothing else happens
                                                         │    └─► another request: 422
                                                         ▼
                                            place the order, store its result ─► commit
```

The result is stored in the transaction that places the order, so no crash leaves one without the other. A refused order stores
nothing: its key may be used again. The rules are in `tether_core.order_keys`.
"""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Response
from litestar.params import HeaderParameter
from tether_core.errors import KeyReused
from tether_core.order_keys import KEPT_DAYS, KEY_MAX, digest, parse
from tether_stores import order_keys
from tether_stores.order_keys import StoredResponse
from tether_stores.postgres import Connection

__all__ = ["KeyHeader", "OrderKey", "find", "placed", "read"]

KeyHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description=(
            f"Any text of 1 to {KEY_MAX} visible ASCII characters that you choose for this order, such as a UUID. The same "
            f"request with the same key gives the result of the first for {KEPT_DAYS} days, and nothing is ordered twice."
        ),
    ),
]
_REPLAYED: Final = {"Idempotency-Replayed": "true"}


class OrderKey(msgspec.Struct, frozen=True):
    """
    The key of a request.

    Attributes:
        holder: The name of the API key of the request.
        key: As the client chose it.
        request: Digest of the request.
    """

    holder: str
    key: str
    request: bytes


async def read(request: Request[str, Any, Any]) -> OrderKey | None:
    """
    The key of a request with a digest of the request; `None` without a key.

    Raises:
        Unreadable: when the key has an invalid form; see `tether_core.order_keys.parse`.
    """
    key = parse(request.headers.getall("idempotency-key", []))
    if key is None:
        return None
    path = request.scope["path"].rstrip("/")
    return OrderKey(request.user, key, digest(request.method, path, await request.body()))


async def find(conn: Connection, key: OrderKey | None) -> Response[Any] | None:
    """
    The stored response of the same request, or `None` if the order must be placed; locks the key.

    Args:
        conn: In the transaction that will place the order, before it locks any row.

    Raises:
        KeyReused: when the key was sent with another request.
        InProgress: when the same request is in progress.
    """
    if key is None:
        return None
    await order_keys.lock(conn, holder=key.holder, key=key.key)
    kept = await order_keys.find(conn, holder=key.holder, key=key.key)
    if kept is None:
        return None
    if kept.request != key.request:
        raise KeyReused
    return _response(kept, headers=_REPLAYED)


async def placed(
    conn: Connection,
    key: OrderKey | None,
    *,
    result: msgspec.Struct,
    status: int,
    location: str,
    now: datetime,
) -> Response[Any]:
    """
    The response to an order, stored under its key.

    Args:
        conn: In the transaction that places the order.
        result: The body.
        status: The HTTP status.
        location: The path of what was ordered.
    """
    kept = StoredResponse(b"" if key is None else key.request, status, location, msgspec.json.encode(result))
    if key is not None:
        await order_keys.add(conn, kept, holder=key.holder, key=key.key, now=now)
    return _response(kept, headers={})


def _response(kept: StoredResponse, *, headers: dict[str, str]) -> Response[Any]:
    return Response(
        kept.body,
        status_code=kept.status,
        media_type="application/json",
        headers={"Location": kept.location, **headers},
    )
