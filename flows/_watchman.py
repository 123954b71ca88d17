"""Ends what a supervisor leaves behind when it is killed: started beside it, waits on a pipe, needs nothing of ours.

Run as ``python -m flows._watchman TOKEN GRACE``. A line on standard input means that all is in order; the end of the
input without one means that the supervisor died.
"""

from __future__ import annotations

import signal
import sys

from flows._procs import sweep


def main() -> None:
    """Wait for the end of the supervisor, then for that of its children."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if not sys.stdin.readline():
        sweep(sys.argv[1], float(sys.argv[2]))


if __name__ == "__main__":
    main()
