"""The exchange as a process of its own: it says where it is, serves, and ends when told to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.failure(45)
def test_exchange_runs_until_it_is_told_to_end() -> None:
    code = "from simulation.exchange import run_exchange; run_exchange(port=0, speed=100.0)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = first.split()[2]
        assert url.startswith("http://127.0.0.1:")
        states = []
        while len(states) < 2 or states[-1]["market_ms"] == states[0]["market_ms"]:
            with urllib.request.urlopen(f"{url}/control", timeout=20) as answer:
                states.append(json.load(answer))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert states[0]["symbols"] == ["SYNUSDT"]
