"""
Signing in by OpenID Connect: which ID tokens are accepted, and which user they sign in.

```text
 claims of a verified token
   ├─ of another provider, client or sign-in, or out of time ──► refused
   └─ issuer and subject
        ├─ bound to a user ─────────────────────────────────────► sign_in, or refused where the user is disabled
        └─ not bound: the user whose name the claim holds
             ├─ none, disabled, or bound to another subject ────► refused
             └─ otherwise ──────────────────────────────────────► bind
```

The pair of issuer and subject identifies a person at the provider permanently; a name or an e-mail address may pass to somebody else. So a name counts
once, when the pair is bound to the user. Nobody becomes a user by signing in. Source: OpenID Connect Core 1.0, 3.1.3.7 and 5.7.

>>> is_provider_address("https://login.example.com/realms/a"), is_provider_address("http://login.example.com")
(True, False)
>>> decide(ProviderIdentity(issuer="i", subject="s", name="ada"), bound=None, named=Holder())
'bind'
>>> decide(ProviderIdentity(issuer="i", subject="s", name="ada"), bound=None, named=Holder(is_bound=True))
'bound_to_another'
"""

from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from tether_core.errors import InvalidRequest
from tether_core.people.roles import require_name

__all__ = [
    "AGE_MAX_S",
    "ALGORITHMS",
    "EMAIL",
    "SENTENCES",
    "SKEW_S",
    "Decision",
    "Factors",
    "Holder",
    "ProviderIdentity",
    "Refusal",
    "decide",
    "is_provider_address",
    "read_identity",
    "scope",
]

# Signatures by the provider's own key. "none" signs nothing, and HMAC signs with a secret that the client has, too.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
SKEW_S: Final = 60
# A token is made when the code is exchanged; some providers date it back by minutes.
AGE_MAX_S: Final = 900
# The claim that counts only when the provider has verified it.
EMAIL: Final = "email"

Factors: TypeAlias = Literal[1, 2]
Refusal: TypeAlias = Literal[
    "unreadable",
    "issuer",
    "audience",
    "expired",
    "not_yet_valid",
    "nonce",
    "no_claim",
    "email_not_verified",
    "no_user",
    "disabled",
    "bound_to_another",
]
Decision: TypeAlias = Literal["sign_in", "bind"] | Refusal

_CONFIGURED: Final = (
    "The operator compares the settings TETHER_OIDC_* with those of the client at the provider."
)
SENTENCES: Final[dict[Refusal, str]] = {
    "unreadable": f"The identity provider's answer is no valid ID token. {_CONFIGURED}",
    "issuer": f"The ID token is of another identity provider. {_CONFIGURED}",
    "audience": f"The ID token is of another client of the identity provider. {_CONFIGURED}",
    "expired": "The ID token has expired. Sign in again; if it happens again, the operator checks the clocks.",
    "not_yet_valid": "The ID token is not valid yet. The operator checks the clocks of the provider and of this machine.",
    "nonce": "The ID token belongs to another sign-in. Sign in again.",
    "no_claim": "The ID token does not hold the claim of TETHER_OIDC_CLAIM as a user's name. The operator adds it to the client's tokens.",
    "email_not_verified": "The identity provider has not verified your e-mail address. Verify it there and sign in again.",
    "no_user": "No user has your name at the identity provider. Ask an administrator to add you under that name.",
    "disabled": "The user is disabled. Ask an administrator.",
    "bound_to_another": "The user with your name belongs to another person at the identity provider. Ask an administrator to unbind it.",
}


class ProviderIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """
    Who signed in at the provider.

    Attributes:
        issuer: The provider.
        subject: The person there; never given to another one.
        name: The name of a user that the configured claim holds; `None` without a usable one.
        unnamed: Why there is no name; `None` with one.
        factors: 2 where the provider says that it asked for several factors ("mfa" in `amr`, RFC 8176), otherwise 1.
    """

    issuer: str
    subject: str
    name: str | None = None
    unnamed: Refusal | None = None
    factors: Factors = 1

    def __repr__(self) -> str:
        """Name nobody."""
        return "ProviderIdentity(***)"


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """
    What counts of a user.

    Attributes:
        is_disabled: Whether the user cannot sign in.
        is_bound: Whether a person at the provider is bound to the user.
    """

    is_disabled: bool = False
    is_bound: bool = False


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    aud: str | list[str]
    exp: int | float
    iat: int | float
    nonce: str
    nbf: int | float | None = None
    azp: str | None = None
    amr: list[str] | None = None
    email_verified: Any = None


def read_identity(
    claims: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str, claim: str, now: datetime
) -> ProviderIdentity | Refusal:
    """
    Who a token is about, or why it is refused.

    Args:
        claims: Of a token whose signature was verified with a key of the provider.
        issuer: The configured provider.
        client_id: This installation at the provider.
        nonce: Of the sign-in that began in this browser.
        claim: Which claim holds the name of the user.
    """
    try:
        token = msgspec.convert(claims, _Claims)
    except msgspec.ValidationError:
        return "unreadable"
    if (refusal := _refusal(token, issuer=issuer, client_id=client_id, nonce=nonce, now=now)) is not None:
        return refusal
    name, unnamed = _name(claims.get(claim), claim=claim, is_verified=token.email_verified is True)
    return ProviderIdentity(
        issuer=token.iss,
        subject=token.sub,
        name=name,
        unnamed=unnamed,
        factors=2 if "mfa" in (token.amr or ()) else 1,
    )


def _refusal(token: _Claims, *, issuer: str, client_id: str, nonce: str, now: datetime) -> Refusal | None:
    audiences = [token.aud] if isinstance(token.aud, str) else token.aud
    # With several audiences the token says to whom it was given.
    is_ours = token.azp == client_id or (token.azp is None and len(audiences) == 1)
    time_s = now.timestamp()
    refusals: tuple[tuple[bool, Refusal], ...] = (
        (token.iss == issuer, "issuer"),
        (client_id in audiences and is_ours, "audience"),
        (token.nonce == nonce != "", "nonce"),
        (token.exp > time_s - SKEW_S, "expired"),
        (token.iat >= time_s - AGE_MAX_S - SKEW_S, "expired"),
        (token.iat <= time_s + SKEW_S, "not_yet_valid"),
        (token.nbf is None or token.nbf <= time_s + SKEW_S, "not_yet_valid"),
    )
    return next((refusal for is_met, refusal in refusals if not is_met), None)


def _name(value: Any, *, claim: str, is_verified: bool) -> tuple[str | None, Refusal | None]:
    if not isinstance(value, str) or not value.strip():
        return None, "no_claim"
    if claim == EMAIL and not is_verified:
        return None, "email_not_verified"
    try:
        return require_name(value), None
    except InvalidRequest:  # no user can have such a name
        return None, "no_user"


def decide(identity: ProviderIdentity, *, bound: Holder | None, named: Holder | None) -> Decision:
    """
    What a sign-in does.

    Args:
        identity: Who signed in at the provider.
        bound: The user to whom the pair of issuer and subject is bound; `None` for none.
        named: The user with the name of the identity; `None` for none.

    Returns:
        "sign_in" the bound user, "bind" the named one and sign in, or why neither.
    """
    if bound is not None:
        return "disabled" if bound.is_disabled else "sign_in"
    if identity.unnamed is not None:
        return identity.unnamed
    if named is None:
        return "no_user"
    if named.is_disabled:
        return "disabled"
    return "bound_to_another" if named.is_bound else "bind"


def scope(claim: str) -> str:
    """
    What is requested of the provider, no more than the claim needs.

    >>> scope("email"), scope("preferred_username")
    ('openid email', 'openid profile')
    """
    return "openid email" if claim == EMAIL else "openid profile"


def is_provider_address(address: str) -> bool:
    """
    Whether an address may be that of a provider: https, or http on this machine for tests.

    >>> [is_provider_address(address) for address in ("http://localhost:8080", "http://127.0.0.1:80", "http://10.0.0.1", "https://[::1")]
    [True, True, False, False]
    >>> is_provider_address("https://user:secret@login.example.com"), is_provider_address("https://login.example.com?a=b")
    (False, False)
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        has_more = bool(parts.username or parts.password or parts.query or parts.fragment) or parts.port == 0
    except ValueError:
        return False
    if has_more or not host or not address.isprintable() or " " in address:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
