"""The recorder as a plain daemon: what systemd and a person at a terminal need around it.

Exit codes are those of the front door: 0 after SIGTERM or SIGINT with everything sealed, 2 for an error with advice
(another recorder, no space, contract rules that have changed), anything else a bug. An example of a unit::

    [Service]
    Type=notify
    ExecStart=/usr/bin/env purplesky capture
    Restart=on-failure
    RestartSec=2
    WatchdogSec=30
    TimeoutStopSec=60
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from market.counts import RecorderCounts
from market.recorder import Recorder


class Notifier:
    """Tells systemd how the service is, by its plain datagram protocol; does nothing where nobody listens.

    Parameters
    ----------
    address
        ``$NOTIFY_SOCKET`` unless given.

    References
    ----------
    sd_notify(3)
    """

    def __init__(self, address: str | None = None) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_seconds = int(microseconds) / 1e6 if microseconds.isdigit() else None

    def __call__(self, **values: str) -> None:
        """Send ``READY="1"``, ``STATUS="…"`` and the like."""
        if not self._address:
            return
        # An abstract socket is written with @ and addressed with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{name}={value}" for name, value in values.items()).encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            try:
                sender.sendto(message, address)
            except OSError:
                self._address = ""  # systemd is gone: recording matters more than telling


def run_daemon(
    make: Callable[[Callable[[RecorderCounts], None]], Recorder],
    *,
    tell: Callable[[str], None],
    tell_seconds: float = 10.0,
    metrics_port: int | None = None,
    seconds: float | None = None,
    notifier: Notifier | None = None,
) -> RecorderCounts:
    """Record until SIGTERM or SIGINT, then drain and seal.

    Parameters
    ----------
    make
        Builds the recorder around the callback that it must call with its progress.
    tell
        Called with a line about the progress.
    tell_seconds
        Pause between two lines.
    metrics_port
        Serve Prometheus metrics there, on loopback; ``None`` serves none, 0 takes a free port and tells it.
    seconds
        End after so much wall time.
    notifier
        For tests; systemd's unless given.

    Raises
    ------
    PurpleSkyError
        See :meth:`market.Recorder.run`.
    """
    notify = notifier or Notifier()
    latest = RecorderCounts()
    told_at = -tell_seconds

    def progress(counts: RecorderCounts) -> None:
        nonlocal latest, told_at
        latest = counts
        # The watchdog is fed by the loop that seals and syncs: a recorder that hangs is restarted.
        notify(WATCHDOG="1", STATUS=counts.text())
        if time.monotonic() - told_at >= tell_seconds:
            told_at = time.monotonic()
            tell(counts.text())

    with ExitStack() as stack:
        if metrics_port is not None:
            from market.metrics import MetricsServer

            server = stack.enter_context(MetricsServer(lambda: replace(latest), metrics_port))
            tell(f"metrics at http://127.0.0.1:{server.port}/metrics")
        recorder = make(progress)
        try:
            counts = asyncio.run(recorder.run(seconds=seconds, handle_signals=True, on_ready=lambda: notify(READY="1")))
        finally:
            notify(STOPPING="1")
    tell(f"sealed: {counts.text()}")
    return counts
