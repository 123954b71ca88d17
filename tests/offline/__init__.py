"""No test leaves this machine: connections and look-ups beyond loopback fail as they do without a network.

The folder is on ``PYTHONPATH`` while the suite runs, so that Python processes which tests start are held to it, too:
they import ``sitecustomize`` by themselves.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.offline.sitecustomize import OfflineError, cut_off

__all__ = ["OfflineError", "cut_off", "cut_off_children"]


def cut_off_children() -> None:
    """Hold Python processes that are started from here on to the same."""
    here, given = str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")
    if here not in given.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, given)))
