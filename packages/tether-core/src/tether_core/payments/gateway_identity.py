r"""
Gateway identities: the address, login and terminal of a call.

The gateway finds a payment only from where it was submitted: the same terminal, with the same login, at the same
address. So every call is committed together with its identity, and "not found" (460) counts only from that identity. The password is not part
of it: a changed password still reaches the same payments.

What is stored of an identity is its `key`, a digest of the three, and a `name` that people can read. Neither contains a login or a terminal
token, which are credentials: the name has four hex digits of a digest of each, enough to distinguish two and useless to recover one.
`tether-worker accounts list` shows the same digits beside each configured terminal.

Two values are used where a call's identity is not known:

| word | stands for | "not found" counts |
|---|---|---|
| `UNKNOWN` | a call made before identities were stored, or by another system | never |
| `EVERY` | calls that a lost history of the database may have made | from every identity that the account has, or had in the last 31 days |

Source: Genesis API documentation v60.1, Environments and URLs (`/process/{terminal}`, `/reconcile/{terminal}`).

>>> live = identity("https://Gate.example.net:443/", login="merchant", terminal="terminal-a")
>>> live.name
'gate.example.net, login 83fc, terminal f84a'
>>> live == identity("https://gate.example.net", login="merchant", terminal="terminal-a")
True
>>> live.key == identity("https://gate.example.net", login="merchant", terminal="terminal-b").key
False
"""

from hashlib import blake2b
from typing import Final
from urllib.parse import urlsplit

import msgspec

__all__ = ["EVERY", "UNKNOWN", "GatewayIdentity", "identity"]

# A call whose identity nobody knows: no "not found" frees it.
UNKNOWN: Final = "?"
# Calls that a lost history may have made: "not found" has to come from every configured identity of the account.
EVERY: Final = "*"

_PORTS: Final = {"https": 443, "http": 80}


class GatewayIdentity(msgspec.Struct, frozen=True):
    """
    The identity of a call.

    Attributes:
        key: 16 hex digits, the same for the same address, login and terminal.
        name: For people; holds no secret.
    """

    key: str
    name: str


def identity(address: str, *, login: str, terminal: str) -> GatewayIdentity:
    """
    The identity of calls to one terminal.

    Args:
        address: The gateway's address, e.g. "https://staging.gate.emerchantpay.net"; upper case in the host, the
            scheme's own port and a slash at the end make no difference.
        login: The API login.
        terminal: The terminal token.
    """
    place = _place(address)
    content = f"{place}\0{login}\0{terminal}".encode()
    host = place.partition("://")[2]
    return GatewayIdentity(
        blake2b(content, digest_size=8, person=b"gateway identity").hexdigest(),
        f"{host}, login {_digits(login, b'login')}, terminal {_digits(terminal, b'terminal')}",
    )


def _place(address: str) -> str:
    parts = urlsplit(address.strip())
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    port = "" if parts.port in {None, _PORTS.get(scheme)} else f":{parts.port}"
    return f"{scheme}://{host}{port}{parts.path.rstrip('/')}"


def _digits(secret: str, what: bytes) -> str:
    return blake2b(secret.encode(), digest_size=2, person=what).hexdigest()
