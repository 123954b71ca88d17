"""One lake with known defects, and one Prefect server, for the whole session: both cost seconds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.processes import free_port
from flows.ui import prefect_server
from flows.validation import ValidationReport, validate
from market import Lake, import_archives
from settings import Settings, override
from tests.flows.archives import MINUTE, START_MS, SYMBOL, write_archives

#: Where the defects are.
STALL_MS = START_MS + 30 * MINUTE
CROSSED_MS = START_MS + 61 * MINUTE
TORN_MS = START_MS + 90 * MINUTE


def defects(at: int, bid: int, ask: int) -> tuple[int, int] | None:
    """A stall of 100 s, a crossed second, a second with a spread of 2 %."""
    if STALL_MS <= at < STALL_MS + 99_000:
        return None
    if at == CROSSED_MS:
        return ask + 2, bid
    if at == TORN_MS:
        return bid - 6_000, ask + 6_000
    return bid, ask


@pytest.fixture
def told() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A notification service on loopback: its URL, and what it was told."""
    heard: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Nothing to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_port}/", heard
        server.shutdown()


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives of two UTC days, four hours around midnight, with defects in the first."""
    return write_archives(tmp_path_factory.mktemp("archives"), hours=4, defect=defects, twice=2)


@pytest.fixture(scope="session")
def lake(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The archives in a lake."""
    made = Lake(tmp_path_factory.mktemp("installation") / "data" / "lake")
    import_archives(archives, SYMBOL, made)
    return made


@pytest.fixture(scope="session")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the pages."""
    return tmp_path_factory.mktemp("pages") / "reports"


@pytest.fixture(scope="session")
def judged(lake: Lake, reports: Path) -> ValidationReport:
    """The lake, judged."""
    return validate(lake, SYMBOL, reports=reports)


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of an installation of its own, with a Prefect server that runs."""
    root = tmp_path_factory.mktemp("home")
    port = free_port()
    settings = override(
        Settings(),
        paths={"data": root / "data", "mlruns": root / "mlruns"},
        prefect={"api_url": f"http://127.0.0.1:{port}/api", "port": port},
        market={"symbols": (SYMBOL,)},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS", "1")
        server = prefect_server(settings, port)
    with server:
        server.wait_ready(f"{settings.prefect.api_url}/health", 240)
        yield settings
