"""The failures that we know of are tests, every one of them; and none of the tests needs another machine."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

#: Numbered failures that were seen in systems like ours.
FAILURES = 47
#: An address for documentation: nobody has it.
_ELSEWHERE = ("192.0.2.1", 443)
#: Who has cut a process off, itself or its parent, has its own class of the error: the words are the same.
_REFUSED = "the suite runs offline"


def test_every_failure_that_we_know_of_is_a_test() -> None:
    found: set[int] = set()
    for path in Path(__file__).parent.rglob("test_*.py"):
        found |= {int(number) for number in re.findall(r"mark\.failure\((\d+)\)", path.read_text(encoding="utf-8"))}
    assert found == set(range(1, FAILURES + 1))


@pytest.mark.failure(47)
def test_the_suite_cannot_leave_this_machine() -> None:
    with pytest.raises(OSError, match=rf"{_REFUSED}: socket\.connect to '192\.0\.2\.1'"):
        socket.create_connection(_ELSEWHERE, timeout=5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, pytest.raises(OSError, match=_REFUSED):
        datagram.sendto(b"", _ELSEWHERE)
    for name in ("api.bybit.com", b"api.bybit.com"):
        with pytest.raises(OSError, match=_REFUSED):
            socket.getaddrinfo(name, 443)
    with pytest.raises(OSError, match=_REFUSED):
        socket.gethostbyname("api.bybit.com")
    with pytest.raises(urllib.error.URLError, match="offline"):
        urllib.request.urlopen("https://api.bybit.com/v5/market/time", timeout=5)


@pytest.mark.failure(47)
async def test_neither_can_an_event_loop() -> None:
    with pytest.raises(OSError, match=_REFUSED):
        await asyncio.open_connection(*_ELSEWHERE)
    with pytest.raises(OSError, match=_REFUSED):
        await asyncio.get_running_loop().getaddrinfo("api.bybit.com", 443)


@pytest.mark.failure(47)
def test_nor_a_process_that_a_test_starts() -> None:
    code = f"import socket; socket.create_connection({_ELSEWHERE!r}, timeout=5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the suite runs offline: socket.connect to '192.0.2.1'" in done.stderr


@pytest.mark.failure(47)
def test_loopback_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("localhost", port), timeout=5) as client:
            peer, _ = server.accept()
            peer.sendall(b"here")
            assert client.recv(4) == b"here"
            peer.close()
