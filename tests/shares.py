"""How two processes share the suite: files that need the same server stay together, and long ones come first.

A session's fixture is made once in each process. A file that begins late and takes a minute is a minute in which the
other process has nothing to do.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

#: Files by what they start: one Prefect server, and one MLflow server, is enough for all.
SERVERS = {
    "tests/flows/test_capture.py": "prefect",
    "tests/flows/test_command_line.py": "prefect",
    "tests/flows/test_flows.py": "prefect",
    "tests/flows/test_nights.py": "prefect",
    "tests/council/test_lookout.py": "mlflow",
    "tests/council/test_registry.py": "mlflow",
}
#: What takes longest, in order; the others follow as they are collected.
LONGEST = (
    "prefect",
    "tests/docs/test_tutorial.py",
    "tests/features/test_engine.py",
    "tests/market/test_crash.py",
    "mlflow",
    "tests/training/test_study.py",
    "tests/executor/test_daemon.py",
    "tests/executor/test_two_days.py",
    "tests/executor/test_sigkill.py",
)


def share_of(nodeid: str) -> str:
    """What a test is kept together with: its file, or the files with the same server."""
    file = nodeid.split("::", 1)[0]
    return SERVERS.get(file, file)


def rank_of(nodeid: str) -> int:
    """Where a test stands in the order of shares."""
    share = share_of(nodeid)
    return LONGEST.index(share) if share in LONGEST else len(LONGEST)


class Shares(LoadFileScheduling):
    """Hands out shares instead of files, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
