"""The tutorial, typed in: a small version with every run, the whole of it with `make test-all`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from council import Registry, save_bundle
from features import feature_names, spec_hash
from flows.processes import free_port
from tests.docs import tutorial
from tests.executor.conftest import MINUTE, sign_council

NAME, LEVELS, STALL_MS = "council-SYNUSDT-1m", 50, 60_000
#: What the small version does not do: each of them takes tens of seconds of one core, and tests/flows runs both flows.
LONG = ("purplesky validate", "purplesky train")
#: The recording of the small version: until some market has been heard, however busy the machine is.
UNTIL_HEARD = """
purplesky capture --symbols SYNUSDT > capture.log & capture=$!
until grep -q "[1-9][0-9,]* level changes" capture.log; do kill -0 $capture; sleep 0.2; done
kill -TERM $capture
wait $capture
"""


def _hours(text: str) -> float:
    """Hours covered, by `purplesky lake`."""
    return sum(float(one) for one in re.findall(r"([\d.]+)h ", text))


def _register(folder: Path) -> None:
    """What training leaves: a registered version, here of a council that follows the book's imbalance."""
    names = feature_names(LEVELS)
    save_bundle(
        folder / "bundle",
        sign_council(names, "imbalance_all_mean"),
        symbol="SYNUSDT",
        timeframe="1m",
        levels=LEVELS,
        stall_ms=STALL_MS,
        spec_hash=spec_hash(MINUTE, LEVELS, STALL_MS),
        window_ms=(0, 1),
        data_fingerprint="",
        gate={"passed": False},
    )
    registry = Registry(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}", folder / "mlruns" / "artifacts")
    registry.register(NAME, folder / "bundle")


@pytest.mark.timeout(900)
def test_the_tutorial_in_small(tmp_path: Path, empty_registry: Callable[[Path], Path]) -> None:
    """Every block but validation and training, with shorter waits and another port."""
    env = tutorial.environment(tmp_path)
    port = free_port()
    changes = {
        "8899": str(port),
        "--speed 600": "--speed 30",
        "timeout 120 purplesky capture --symbols SYNUSDT || true": UNTIL_HEARD,
        "--max-bars 20 --max-seconds 180": "--max-bars 2 --max-seconds 20",
        "8091": str(free_port()),
    }
    env["PURPLESKY_EXECUTOR__PAGE_PORT"] = "0"
    said: dict[str, str] = {}
    blocks = tutorial.blocks()
    (exchange,) = [block for block in blocks if block.title == tutorial.SECOND]
    first = blocks.index(exchange)
    for block in blocks[:first]:
        tutorial.run(tutorial.changed(block, changes), tmp_path, env, 60)
    command = f"{tutorial.changed(exchange, changes).strip()} --port {port}"
    with tutorial.second_terminal(command, tmp_path, env, "Ctrl-C"):
        for block in blocks[first + 1 :]:
            if block.text.startswith(LONG):
                continue
            if block.text.startswith("purplesky promote"):
                empty_registry(tmp_path / "mlruns")
                _register(tmp_path)
            said[block.text] = tutorial.run(tutorial.changed(block, changes), tmp_path, env, 400)
    told = "\n".join(said.values())
    assert _hours(told) > 0
    assert f"{NAME} version 1 is in Production" in told
    assert "dry-run, session 1" in told
    assert "session 1" in list(said.values())[-1]
    assert len(said) == len(blocks) - first - 1 - len(LONG)


@pytest.mark.slow
@pytest.mark.timeout(2_400)
def test_the_tutorial_as_it_stands(tmp_path: Path) -> None:
    """Literally, on the ports that it names. Where little was recorded, the page says to begin anew: so does this."""
    env = tutorial.environment(tmp_path)
    blocks = tutorial.blocks()
    (exchange,) = [block for block in blocks if block.title == tutorial.SECOND]
    first = blocks.index(exchange)
    for block in blocks[:first]:
        tutorial.run(block.text, tmp_path, env, 60)
    said = []
    with tutorial.second_terminal(exchange.text, tmp_path, env, "Ctrl-C"):
        for block in blocks[first + 1 :]:
            said.append(tutorial.run(block.text, tmp_path, env, 1_200))
            if "purplesky lake" in block.text and _hours(said[-1]) < 4:
                shutil.rmtree(tmp_path / "data")
                said[-1] = tutorial.run(block.text.replace("timeout 120", "timeout 400"), tmp_path, env, 1_200)
    told = "\n".join(said)
    assert "council-SYNUSDT-1m version 1 is in Production" in told
    assert "council version 1" in told
    assert "the same to the byte" in said[-1]
    assert (tmp_path / "data" / "reports" / "SYNUSDT" / "index.html").exists()
