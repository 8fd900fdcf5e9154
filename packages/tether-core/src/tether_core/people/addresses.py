"""
The address of a client behind proxies.

`X-Forwarded-For` is text that any client can send. It counts only as far as proxies of the operator wrote it: the list is read
from the right, and the first address that is not such a proxy is the client. Source: RFC 7239, section 8.1; MDN, X-Forwarded-For,
"selecting an IP address".

>>> proxies = networks(["127.0.0.1", "10.0.0.0/8"])
>>> client_address("10.0.0.7", "203.0.113.9, 10.0.0.8", trusted=proxies)
'203.0.113.9'
>>> client_address("198.51.100.1", "203.0.113.9", trusted=proxies)
'198.51.100.1'
>>> client_address("127.0.0.1", "6.6.6.6, 203.0.113.9", trusted=proxies)
'203.0.113.9'
>>> networks(["proxy.example"])
Traceback (most recent call last):
    ...
tether_core.errors.InvalidRequest: TETHER_TRUSTED_PROXIES: Write addresses or networks, such as 10.0.0.0/8.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from tether_core.errors import InvalidRequest

__all__ = ["Network", "client_address", "group", "networks"]

Network: TypeAlias = IPv4Network | IPv6Network
_HOPS_MAX = 20


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """
    The networks of trusted proxies.

    Args:
        texts: Addresses or networks, such as "10.0.0.0/8".

    Raises:
        InvalidRequest: when a text is neither an address nor a network.
    """
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError:
        why = "write addresses or networks, such as 10.0.0.0/8"
        raise InvalidRequest(why, field="TETHER_TRUSTED_PROXIES") from None


def client_address(peer: str | None, forwarded_for: str, *, trusted: Iterable[Network]) -> str | None:
    """
    The address of the client.

    Args:
        peer: The other end of the connection; `None` if it has no IP address, as with a Unix socket.
        forwarded_for: The header's values with commas between them; "" without one.
        trusted: Networks of the operator's proxies.

    Returns:
        The client's address; the last proxy's where the header ends or cannot be read; `None` without a peer.
    """
    proxies = tuple(trusted)
    found = _parsed(peer or "")
    if found is None:
        return None
    for text in reversed(forwarded_for.split(",")[-_HOPS_MAX:]):
        if not _is_within(found, proxies):
            break
        before = _parsed(text.strip())
        if before is None:
            break
        found = before
    return str(found)


def group(address: str | None) -> str:
    """
    The addresses that one customer of a network has: an IPv4 address, or the /64 of an IPv6 address.

    Args:
        address: The client's; `None` if it has none.

    >>> group("203.0.113.9"), group("2001:db8::1"), group(None)
    ('203.0.113.9', '2001:db8::/64', '')
    """
    found = _parsed(address or "")
    if found is None:
        return ""
    return str(ip_network(f"{found}/64", strict=False)) if found.version == 6 else str(found)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # An IPv4 client of a dual-stack socket.
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _is_within(address: IPv4Address | IPv6Address, proxies: tuple[Network, ...]) -> bool:
    return any(address in network for network in proxies)
