"""
Which addresses events may be sent to.

A person who may add a subscriber can make Tether's machines send requests. Such requests must not reach what only these machines can reach: other
services of the private network, or the metadata service of a cloud. So the URL must be https with a name or a public address, and a worker
checks the **resolved** address and connects to just that one; a name that resolves to another address a second later gains nothing. The operator may
allow networks by a setting, for receivers of its own.

>>> allowed = networks(["10.1.0.0/16"])
>>> is_allowed("203.0.114.7", allowed=()), is_allowed("10.1.2.3", allowed=()), is_allowed("10.1.2.3", allowed=allowed)
(True, False, True)
>>> [is_allowed(text, allowed=()) for text in ("127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::")]
[False, False, False, False, False, False]

Source: OWASP, Server-Side Request Forgery Prevention; the registries of special-purpose addresses of IANA (RFC 6890).
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from tether_core.errors import InvalidRequest

__all__ = ["URL_MAX", "Network", "is_allowed", "networks", "require_url"]

Network: TypeAlias = IPv4Network | IPv6Network
_Address: TypeAlias = IPv4Address | IPv6Address
URL_MAX: Final = 1_000
# Addresses that a translator of the network forwards to the IPv4 address in their last four bytes.
_TRANSLATED: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("::/96"))


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """
    The networks that the operator allows.

    Args:
        texts: Addresses or networks, such as "10.0.0.0/8".

    Raises:
        InvalidRequest: when a text is neither.
    """
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError:
        why = "write addresses or networks, such as 10.0.0.0/8"
        raise InvalidRequest(why, field="TETHER_SUBSCRIBER_NETWORKS") from None


def is_allowed(address: str, *, allowed: Iterable[Network], is_public: bool = True) -> bool:
    """
    Whether events may be sent to a resolved address.

    Args:
        address: An IPv4 or IPv6 address, as a resolver returns it.
        allowed: Networks of the operator's setting.
        is_public: Whether public addresses are allowed, as they are for https.

    Returns:
        `True` for public unicast addresses and for those of *allowed*; `False` for a text that is no address.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = _embedded(found)
    if any(found in network for network in allowed):
        return True
    return is_public and found.is_global and not found.is_multicast


def _embedded(address: _Address) -> _Address:
    """The IPv4 address that packets to an IPv6 address reach in the end, or the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if any(address in network for network in _TRANSLATED) and int(address) > 1:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def require_url(text: str, *, allowed: Iterable[Network]) -> str:
    """
    The URL of a subscriber.

    The address behind a name is checked when something is sent.

    Args:
        text: As a person wrote it.
        allowed: Networks of the operator's setting; with one, http is accepted too, and then only for these.

    Raises:
        InvalidRequest: when it is no such URL.

    >>> require_url("https://books.example/tether?tenant=3", allowed=())
    'https://books.example/tether?tenant=3'
    >>> require_url("https://127.0.0.1/", allowed=())
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: url has an address that is not public; the operator can allow it by TETHER_SUBSCRIBER_NETWORKS.
    >>> require_url("http://books.example/", allowed=())
    Traceback (most recent call last):
        ...
    tether_core.errors.InvalidRequest: url must begin with https://.
    """
    allowed = tuple(allowed)
    url = text.strip()
    if len(url) > URL_MAX or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise InvalidRequest(
            f"must be an address of at most {URL_MAX} ASCII characters without blanks", field="url"
        )
    try:
        parts = urlsplit(url)
        host, has_port = parts.hostname, parts.port != 0
    except ValueError:
        raise InvalidRequest("is no address; write it like https://host/path", field="url") from None
    if parts.scheme not in ({"https", "http"} if allowed else {"https"}):
        raise InvalidRequest("must begin with https://", field="url")
    if not host or not has_port:
        raise InvalidRequest("is no address; write it like https://host/path", field="url")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidRequest(
            "must have no user, password or fragment; requests are signed instead", field="url"
        )
    if _is_address(host) and not is_allowed(host, allowed=allowed):
        raise InvalidRequest(
            "has an address that is not public; the operator can allow it by TETHER_SUBSCRIBER_NETWORKS",
            field="url",
        )
    return url


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
