"""The address of a client, also behind proxies: the same for sockets, REST requests and pages.

``SIGNALLING["TRUSTED_PROXIES"]`` lists the networks of your proxies. ``X-Forwarded-For`` is a list
to which each proxy appends the address of its own client, so only the entries that trusted proxies
appended are true. The client is the last address of the chain that is not a trusted proxy.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from .conf import conf
from .logs import RareWarning

if TYPE_CHECKING:
    from django.http import HttpRequest

_untrusted = RareWarning(
    logging.getLogger("rooms"),
    "Ignored X-Forwarded-For from a private address that is not in SIGNALLING['TRUSTED_PROXIES']",
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX = "unix"
"""The entry of ``TRUSTED_PROXIES`` for a proxy that connects through a Unix socket."""
UNKNOWN = "unknown"
"""The key of all clients whose server does not give an address."""


def client_address(peer: str | None, forwarded: Iterable[str]) -> str:
    """Return the address of a client as a throttling key; an IPv6 address as its /64 network.

    ``peer``: the other end of the connection; ``None`` or empty for a Unix socket.
    ``forwarded``: the values of all ``X-Forwarded-For`` headers, in order (RFC 9110, section 5.3).
    """
    address = UNKNOWN if peer is None else peer
    hops = [hop for value in forwarded for hop in value.split(",")]
    if hops and not _is_trusted(address):
        _report_untrusted(address)
    while hops and _is_trusted(address):
        hop = _without_port(hops.pop())
        if _parse(hop) is None:  # "unknown" or garbage: the proxy that appended it is the last hop
            break
        address = hop
    return network(address)


def request_address(request: HttpRequest) -> str:
    """Return ``client_address`` of a request; also of one of Django REST framework."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return client_address(request.META.get("REMOTE_ADDR"), [forwarded] if forwarded else [])


def network(address: str) -> str:
    """Return the throttling key for an address: an IPv6 address is reduced to its /64 network."""
    ip = _parse(address)
    if ip is None:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.ip_network((ip, 64), strict=False))


def is_public(address: str) -> bool:
    """Return whether an address is one of the public Internet."""
    ip = _parse(address)
    return ip is not None and ip.is_global


@cache
def networks(entries: tuple[str, ...]) -> tuple[Network, ...]:
    """Return the networks in a value of ``TRUSTED_PROXIES``. Raise ``ValueError``."""
    return tuple(ipaddress.ip_network(entry) for entry in entries if entry != UNIX)


def _is_trusted(address: str) -> bool:
    trusted = conf().trusted_proxies
    if address in {"", UNKNOWN}:
        return UNIX in trusted
    ip = _parse(address)
    return ip is not None and any(ip in network for network in networks(tuple(trusted)))


def _report_untrusted(address: str) -> None:
    """Log if a proxy seems to be missing in the setting. Anybody may send the header from outside."""
    ip = _parse(address)
    if ip is None or ip.is_private:
        _untrusted.log()


def _parse(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:  # a dual-stack socket
        return ip.ipv4_mapped
    return ip


def _without_port(hop: str) -> str:
    """Return the address of ``192.0.2.1:443`` or ``[2001:db8::1]:443``, as some proxies write it."""
    hop = hop.strip()
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
