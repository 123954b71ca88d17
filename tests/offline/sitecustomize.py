"""Cuts a Python process off from everything but loopback; imported by every one that the suite starts."""

from __future__ import annotations

import errno
import ipaddress
import socket
import sys
from typing import Any

#: Events of the interpreter's audit, and where in their arguments the address or the name is.
_WATCHED = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}
_OURSELVES = {"localhost", "ip6-localhost", "localhost.localdomain", ""}


class OfflineError(OSError):
    """The suite tried to reach another machine."""


def _ours(host: Any, *, named: bool) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or host.lower() in _OURSELVES or host == socket.gethostname():
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    # A look-up of what is an address already asks nobody.
    return named or address.is_loopback or address.is_unspecified


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    place = _WATCHED.get(event)
    if place is None:
        return
    where = arguments[place]
    if place == 1:
        if not isinstance(where, tuple):  # a Unix socket, or one that is connected already
            return
        where = where[0]
    if not _ours(where, named=place == 0):
        raise OfflineError(errno.ENETUNREACH, f"the suite runs offline: {event} to {where!r}")


def cut_off() -> None:
    """From now on, for as long as the process lives; a second call changes nothing."""
    if not getattr(sys, "_purplesky_offline", False):
        sys._purplesky_offline = True  # type: ignore[attr-defined]
        sys.addaudithook(_watch)


cut_off()
