"""A sign-in that is at the identity provider: what the browser keeps until it comes back."""

import base64
import hmac
import secrets

import msgspec

__all__ = ["PendingSignIn"]


class PendingSignIn(msgspec.Struct, frozen=True):
    """
    A sign-in that is at the provider, as the browser keeps it.

    Attributes:
        state: Comes back with the answer; whose browser it is.
        nonce: Comes back in the token.
        verifier: Proves that who exchanges the code has begun the sign-in.
        where: The path that the person wanted.
    """

    state: str
    nonce: str
    verifier: str
    where: str

    @classmethod
    def new(cls, where: str) -> "PendingSignIn":
        """Begin a sign-in, with 256 random bits for each purpose."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(32), where)

    @classmethod
    def read(cls, text: str) -> "PendingSignIn | None":
        """A sign-in as a cookie holds it; `None` for anything else."""
        try:
            content = base64.urlsafe_b64decode(text.encode("ascii") + b"==")
            return msgspec.json.decode(content, type=cls)
        except (ValueError, msgspec.MsgspecError):
            return None

    def written(self) -> str:
        """The text of the cookie."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    def is_answered_by(self, state: str) -> bool:
        """Whether an answer belongs to this sign-in."""
        given = state.encode("utf-8", "replace")
        return bool(self.state) and hmac.compare_digest(self.state.encode("utf-8", "replace"), given)

    def __repr__(self) -> str:
        """Show nothing that signs in."""
        return "PendingSignIn(***)"
