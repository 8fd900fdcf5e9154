"""Whether a node can record notifications."""

import msgspec

from tether_client.connection import Connection

__all__ = [
    "HealthRoutes",
    "Readiness",
]


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """
    Whether the node can record notifications, and which of its services answer.

    Attributes:
        ready: Whether notifications can be recorded: Postgres accepts writes, a gateway password is
            configured, and this process is not shutting down.
        postgres: Whether it accepts writes and has the tables of this version.
        migrated: Whether it has those tables; if false, run `tether-worker migrate`; null if it does not
            answer.
        redis: Whether it answers; without it everything works, but slower.
        objects: Whether the object store answers; without it only uploads cannot be sent or read.
        gateway_password: Whether one is configured; without it all notifications are refused.
        oldest_waiting_s: Age of the oldest notification that is due and not applied, in seconds; null if
            unknown. It does not make a node unready.
        fingerprint_key: Whether this node's `TETHER_FINGERPRINT_KEY` is the database's: "matches", or why
            not; null if unknown. Notifications are recorded and processed in any case, so it does not
            make a node unready.
        refused: What is refused because of the key, and who must do what; null if nothing is refused.
    """

    ready: bool
    postgres: bool
    migrated: bool | None
    redis: bool
    objects: bool
    gateway_password: bool
    oldest_waiting_s: float | None
    fingerprint_key: str | None
    refused: str | None


class HealthRoutes(Connection):
    """Routes of a node itself."""

    def readiness(self) -> Readiness:
        """Whether this node can record notifications, and which services answer. Needs no key."""
        # 503 has the same body: it says what does not answer.
        return self._probe("/ready", Readiness, allowed=503)
