"""A person's morning in a real browser, against a whole installation: run the night, read it, promote, watch, go back.

With ``PURPLESKY_SCREENSHOTS=docs/images`` the pictures of the documentation are taken on the way.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from council import Registry
from executor.actions import SwapCouncil, decode_actions
from executor.events import BarClosed, CouncilChanged, decode_event
from executor.reader import JournalReader
from executor.status import folder_of
from flows.installation import LOCAL_SYMBOL
from flows.prefect_api import everything
from tests.flows.installation_rig import Installation

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Pages open in seconds; on a machine that is busy elsewhere in minutes.
PATIENCE_MS = 300_000
WIDTH, HEIGHT = 1280, 800


def shoot(page: Page, name: str) -> None:
    """Keep a picture for the documentation, if somebody wants one."""
    folder = os.environ.get("PURPLESKY_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(1_500)
        path = Path(folder) / f"promote-{name}.png"
        page.screenshot(path=path, clip={"x": 0, "y": 0, "width": WIDTH, "height": 620})
        # 128 colours show a page as well, in a third of the bytes.
        with Image.open(path) as picture:
            small = picture.convert("RGB").quantize(128)
        small.save(path, optimize=True)


def run_the_night(page: Page, up: Installation) -> str:
    """Click the deployment `nightly` into a run, and wait until it is green; the run's id."""
    page.goto(f"http://127.0.0.1:{up.settings.prefect.port}/deployments")
    page.locator("a[href*='/deployments/deployment/']").filter(has_text="nightly").first.click()
    page.get_by_role("button", name="Run", exact=True).last.click()
    shoot(page, "1-run-the-night")
    page.get_by_text("Quick run").first.click()
    run = up.wait_for(lambda: newest_run(up), "the clicked run")
    state = up.wait_ended(run)
    assert state["type"] == "COMPLETED", state
    # The page that was clicked lists it now.
    page.reload()
    page.locator(f"a[href*='/runs/flow-run/{run}']").first.click()
    page.get_by_text("Completed", exact=True).first.wait_for()
    shoot(page, "2-the-night-is-green")
    return run


def read_the_night(page: Page, up: Installation) -> None:
    """From the run's artifacts to the Data Docs."""
    page.get_by_text("Artifacts", exact=True).last.click()
    page.locator("a[href*='/artifacts/artifact/']").filter(has_text="data-docs").first.wait_for()
    shoot(page, "3-its-artifacts")
    page.locator("a[href*='/artifacts/artifact/']").filter(has_text="night of").first.click()
    page.wait_for_url("**/artifacts/artifact/**")
    page.get_by_role("link", name="Data Docs").first.wait_for()
    assert page.get_by_text("trained").first.is_visible()
    shoot(page, "4-what-became-of-it")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Data Docs").first.click()
    docs = opened.value
    docs.wait_for_url(f"http://127.0.0.1:{up.settings.reports.port}/{LOCAL_SYMBOL}/docs/index.html")
    docs.get_by_role("link", name="minutes", exact=True).first.wait_for()
    docs.close()


def newest_run(up: Installation) -> str:
    """The run of a deployment that a person asked for last; empty before there is one."""
    query = {"flow_runs": {"deployment_id": {"is_null_": False}}, "sort": "EXPECTED_START_TIME_DESC"}
    found = [run for run in everything(up.settings, "flow_runs/filter", query) if not run["auto_scheduled"]]
    return str(found[0]["id"]) if found else ""


def promote(page: Page, up: Installation, version: int, picture: str = "") -> None:
    """Give the alias `production` to a version in the MLflow UI, as a person does."""
    model = up.settings.model_name(LOCAL_SYMBOL, "1m")
    page.goto(f"http://127.0.0.1:{up.settings.mlflow.port}/#/models/{model}/versions/{version}")
    page.get_by_text(f"Version {version}", exact=True).first.wait_for()
    page.get_by_text("Aliases").first.wait_for()
    close_assistant(page)
    if picture:
        shoot(page, f"{picture}-version-page")
    page.get_by_text("Add", exact=True).first.click()
    box = page.get_by_role("dialog").locator("input").first
    box.click()
    box.press_sequentially("production")
    page.keyboard.press("Enter")
    if picture:
        shoot(page, f"{picture}-alias")
    page.get_by_role("button", name="Save aliases").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    page.get_by_text("@ production").or_(page.get_by_text("production", exact=True)).first.wait_for()
    if picture:
        shoot(page, f"{picture}-promoted")


def close_assistant(page: Page) -> None:
    """MLflow opens a panel that is not needed here."""
    close = page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
    if close.count():
        close.first.click()


def status(up: Installation) -> dict[str, Any]:
    """What the executor's page says, as JSON."""
    url = f"http://127.0.0.1:{up.settings.executor.page_port}/status.json"
    with urllib.request.urlopen(url, timeout=60) as answer:
        (found,) = json.loads(answer.read())
    return dict(found)


def wait_taken_over(up: Installation, version: int) -> None:
    """Until the executor decides with a version."""

    def taken() -> bool:
        council = status(up)["council"]
        return bool(council) and council["version"] == version

    up.wait_for(taken, f"version {version} taken over")


def bars_until_taken_over(up: Installation) -> list[tuple[int, int]]:
    """Of each council that the executor went over to: its version, and the bars that closed since it knew of it."""
    reader = JournalReader(folder_of(up.settings, LOCAL_SYMBOL, "dry-run"))
    taken: list[tuple[int, int]] = []
    for session in reader.sessions():
        waited: dict[int, int] = {}
        for _, event, actions in reader.turns(session):
            seen = decode_event(event)
            if isinstance(seen, CouncilChanged):
                waited = {seen.version: 0}
            elif isinstance(seen, BarClosed):
                waited = {version: bars + 1 for version, bars in waited.items()}
            swaps = (action.version for action in decode_actions(actions) if isinstance(action, SwapCouncil))
            taken += [(version, waited[version]) for version in swaps]
    reader.close()
    return taken


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_a_morning(browser: Browser, tmp_path: Path) -> None:
    with Installation(tmp_path / "home", minutes=300) as up:
        up.wait_up("executor")
        deployed = up.run("deploy")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        context.set_default_timeout(PATIENCE_MS)
        asked: set[str] = set()
        context.on("request", lambda one: asked.add(one.url.split("/")[2]) if one.url.startswith("http") else None)
        page = context.new_page()

        run_the_night(page, up)
        read_the_night(page, up)
        # Nothing trades before a person says so; then the executor begins.
        assert up.states()["executor"] == "refused"
        promote(page, up, 1, "5")
        up.wait_for(lambda: status(up)["council"]["version"] == 1, "the executor trades version 1")

        # The next night, and the new council takes over from the running one within a bar.
        second = up.start_run("nightly", again=True)
        assert up.wait_ended(second)["type"] == "COMPLETED"
        pid = up.pid("executor")
        promote(page, up, 2)
        wait_taken_over(up, 2)
        page.goto(f"http://127.0.0.1:{up.settings.executor.page_port}/")
        page.get_by_text("version 2").first.wait_for()
        shoot(page, "6-the-executor-says-so")

        # The way back is the same click on the version before.
        promote(page, up, 1)
        wait_taken_over(up, 1)
        page.goto(f"http://127.0.0.1:{up.settings.executor.page_port}/")
        page.get_by_text("version 1").first.wait_for()
        assert up.pid("executor") == pid, "it was not started again"
        assert bars_until_taken_over(up) == [(1, 1), (2, 1), (1, 1)]

        # The ledger has it all, and the doctor finds a working installation.
        registry = Registry(up.settings.registry_uri, up.settings.paths.mlruns / "artifacts")
        entries = registry.ledger.entries(up.settings.model_name(LOCAL_SYMBOL, "1m"))
        assert [(one.version, one.how) for one in entries] == [(1, "seen"), (2, "seen"), (1, "seen")]
        doctor = up.run("doctor").stdout
        for name in ("supervisor", "executor", "worker", "deployments", "schedules", "MLflow", "last night"):
            assert f"ok    {name}:" in doctor, doctor
        assert "fail" not in {line[:4] for line in doctor.splitlines()}, doctor
        # Neither a page nor a process spoke to anybody but this machine.
        assert {host.split(":")[0] for host in asked} == {"127.0.0.1"}
        context.close()
    assert not up.witness.exists(), up.witness.read_text(encoding="utf-8")
    assert up.process is not None
    assert up.process.returncode == 0
