"""Who may ask: loopback, and the addresses and networks that the settings allow."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

__all__ = ["near"]


@lru_cache(maxsize=256)
def near(peer: str | None, allowed: tuple[str, ...] = ()) -> bool:
    """
    Whether the endpoints may be asked from *peer*: from this machine, or from an address or network of *allowed*.

    Judged by the address of the connection alone. What a header such as ``X-Forwarded-For`` says is never looked at, as
    whoever connects can write it; a connection without an address (a unix socket) is that of a proxy.
    """
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback or any(address in network for network in map(ip_network, allowed))
