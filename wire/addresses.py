"""Network addresses: which of them are this machine's own."""

from __future__ import annotations

import ipaddress


def host_is_loopback(host: str) -> bool:
    """Tell whether an address is this machine's own; a name other than localhost is not taken to be.

    >>> host_is_loopback("127.0.0.1"), host_is_loopback("::ffff:127.0.0.1"), host_is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
