"""Relays: further addresses for notifications, each of one gateway account."""

from datetime import datetime

import msgspec

from tether_client.connection import Connection

__all__ = ["ListedRelay", "RelayRoutes", "RelayWithToken"]


class ListedRelay(msgspec.Struct, frozen=True, kw_only=True):
    """
    A relay, without its token.

    Attributes:
        id: The row.
        name: Unique among relays that are not revoked.
        account: The gateway account whose passwords verify what comes there.
        created_by: Who created it.
        created_at: When.
        revoked_by: Who revoked it, or null.
        revoked_at: When, or null.
        last_received_at: When the latest new notification came there, or null; repeats of known ones do not count.
    """

    id: int
    name: str
    account: str
    created_by: str
    created_at: datetime
    revoked_by: str | None
    revoked_at: datetime | None
    last_received_at: datetime | None


class RelayWithToken(msgspec.Struct, frozen=True, kw_only=True):
    """
    A new relay.

    Attributes:
        relay: Its name and account.
        token: The secret part of its address; shown this once.
        path: The path of its address on this host; shown this once.
    """

    relay: ListedRelay
    token: str
    path: str

    def __repr__(self) -> str:
        """Name the relay and hide its token."""
        return f"RelayWithToken({self.relay.name!r})"


class RelayRoutes(Connection):
    """Routes of relays."""

    def relays(self) -> list[ListedRelay]:
        """All relays, newest first, with those that are revoked."""
        return self._get("/api/relays", list[ListedRelay])

    def create_relay(self, name: str, *, account: str = "default", reason: str = "") -> RelayWithToken:
        """Create a relay for a gateway account; its address is in the response only."""
        body = {"name": name, "account": account, "reason": reason}
        return self._post("/api/relays", body, RelayWithToken)

    def revoke_relay(self, relay_id: int, *, reason: str = "") -> list[ListedRelay]:
        """Revoke a relay; returns all relays."""
        return self._delete(f"/api/relays/{relay_id}", list[ListedRelay], reason=reason)
