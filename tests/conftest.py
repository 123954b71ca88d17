"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.offline import cut_off, cut_off_children

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Nothing that the suite does needs another machine, and nothing may reach one.
cut_off()
cut_off_children()

# A machine that is busy elsewhere is no failure; tests that hang have a time-out.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the shares of `tests.shares` where files would be handed out."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.shares import Shares

    config.option.loadscopereorder = False
    return Shares(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In one of several processes, long files first."""
    if hasattr(config, "workerinput"):
        from tests.shares import rank_of

        items.sort(key=lambda item: rank_of(item.nodeid))


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded markets; the test skips where it is absent (the project ships none of it)."""
    folder = Path(os.environ.get("PURPLESKY_RECORDED", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no recorded markets at ../shared/data (or $PURPLESKY_RECORDED)")
    return folder


# Of a module, not of the session: while the driver lives, its loop runs in this thread and no async test could.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, headless, speaking to loopback only; the test skips where it is not installed."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    quiet = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update"
    arguments = [f"--{name}" for name in (*quiet.split(), "disable-sync")]
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=arguments)
        yield running
        running.close()


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Puts an empty MLflow registry into a folder; made once, for MLflow takes its time, and copied."""
    made = tmp_path_factory.mktemp("empty") / "mlflow.db"
    from mlflow import MlflowClient  # seconds that most runs of a few tests need not spend

    # A search makes the tables.
    MlflowClient(tracking_uri=f"sqlite:///{made}").search_registered_models()

    def put(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, folder / "mlflow.db"))

    return put
