"""
What can go wrong with a request, by who must act next.

```text
ClientError        __str__ is a sentence for a person
├─ Refused         the sender must change something; has the status, code and fields of the problem details
│  └─ NotAllowed   no valid key, or one without the permission
├─ Unavailable     Tether cannot be reached or cannot answer now; the same request may work later
└─ Defective       Tether failed: its log has the cause under the request id
```
"""

from collections.abc import Mapping, Sequence

__all__ = ["ClientError", "Defective", "NotAllowed", "Refused", "Unavailable"]


class ClientError(Exception):
    """A request did not have its effect, or its effect is not known."""


class Refused(ClientError):
    """
    Tether refused the request.

    Attributes:
        detail: What is wrong, and who must do what.
        status: The HTTP status; 0 where nothing was sent.
        code: A stable code for programs.
        errors: Which fields are wrong, and how.
        related: The path of what is in the way, or `None`.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        related: str | None = None,
    ) -> None:
        """Keep the facts."""
        super().__init__(detail)
        self.detail, self.status, self.code = detail, status, code
        self.errors, self.related = tuple(errors), related

    def __str__(self) -> str:
        """The detail, and the path of what is in the way."""
        return f"{self.detail} See {self.related}." if self.related else self.detail


class NotAllowed(Refused):
    """The key is missing, unknown, expired or has no permission for this."""


class Unavailable(ClientError):
    """Tether is not reachable, or cannot answer now."""


class Defective(ClientError):
    """Tether answered with an internal error, or with something that is no answer of its API."""
