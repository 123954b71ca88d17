"""`make demo`: the whole job, offline, against the local exchange.

No step is faked: the exchange is a separate process that serves a seeded synthetic market over real sockets, the
capture, validation and training are the same flows that run at night, and the executor is the daemon that a person
would start. What is special about the demo is the clock: the market's runs fast, so that a day passes in a minute and
a half.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

import settings as configuration
from flows.processes import Child, free_port, interruptible
from flows.ui import prefect_server
from market.errors import ConfigError
from settings import Settings

SYMBOL = "SYNUSDT"
#: Strength of the planted signal, as `purplesky exchange --signal` takes it. At 1.0 an honest gate needs about three
#: times the bars that a minute and a half can hold; at 2.0 the demo's bars are enough.
SIGNAL = 3.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much market the demo sees, and how fast.

    Attributes
    ----------
    capture_seconds
        Wall time of the capture.
    capture_speed, execute_speed
        Market seconds a second while capturing and while trading. While training the market runs at wall speed.
    trials
        Trials of the study.
    decisions
        Bars the executor decides on at least.
    execute_seconds
        The executor is stopped after this long in any case.
    """

    capture_seconds: float = 92.0
    capture_speed: float = 1200.0
    execute_speed: float = 240.0
    trials: int = 16
    decisions: int = 20
    execute_seconds: float = 90.0


def run_demo(
    folder: Path, *, seed: int = 7, pace: Pace | None = None, echo: Callable[[str], None] = click.echo
) -> dict[str, Any]:
    """Run the demo and write ``summary.json``.

    Parameters
    ----------
    folder
        What an earlier demo left there is removed.
    seed
        Seed of the market and of the study.

    Returns
    -------
    dict
        The summary, as written.

    Raises
    ------
    PurpleSkyError
        A step failed; what it left behind stays in `folder`.
    """
    pace = pace or Pace()
    started = time.monotonic()
    _clear(folder)
    port = free_port()
    prefect_port = free_port()
    own = _configure(folder, port=port, seed=seed, pace=pace)
    config = folder / "purplesky.toml"
    step = _Steps(echo, total=6, started=started)

    step(f"starting the local exchange ({SYMBOL}, seed {seed}, planted signal {SIGNAL}) and a Prefect server")
    command = [sys.executable, "-m", "purplesky", "--config", str(config), "exchange", "--synthetic"]
    command += ["--seed", str(seed), "--signal", str(SIGNAL), "--speed", "1", "--port", str(port)]
    with (
        interruptible(),
        Child("exchange", command, folder / "logs" / "exchange.log") as exchange,
        prefect_server(own, prefect_port) as prefect,
    ):
        exchange.wait_ready(f"http://127.0.0.1:{port}/v5/market/time", 120)
        prefect.wait_ready(f"http://127.0.0.1:{prefect_port}/api/health", 120)
        own = configuration.override(own, prefect={"api_url": f"http://127.0.0.1:{prefect_port}/api"})
        summary = _pipeline(own, port, pace, step)
        exchange.check()
        step("trading: the executor daemon, dry-run through the fill model, on the live feed")
        summary["executor"] = _execute(config, folder, pace, port, echo)
    summary = {"seconds": round(time.monotonic() - started, 1), **summary}
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    echo(_summary_text(summary, folder))
    return summary


class _Steps:
    """Numbered headlines with the time that has passed."""

    def __init__(self, echo: Callable[[str], None], *, total: int, started: float) -> None:
        self._echo, self._total, self._started, self._done = echo, total, started, 0

    def __call__(self, text: str) -> None:
        self._done += 1
        self._echo(f"\n[{self._done}/{self._total}] {time.monotonic() - self._started:4.0f} s  {text}")


def _clear(folder: Path) -> None:
    marker = folder / "purplesky.toml"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise ConfigError(f"{folder} holds something that is not a demo", advice="Move it away, or set paths.data")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _configure(folder: Path, *, port: int, seed: int, pace: Pace) -> Settings:
    """Write the demo's own configuration file and load it."""
    own = configuration.override(
        Settings(),
        paths={"data": folder.resolve(), "mlruns": folder.resolve() / "mlruns"},
        venue={
            "rest_url": f"http://127.0.0.1:{port}",
            "public_url": f"ws://127.0.0.1:{port}/v5/public/linear",
            "private_url": f"ws://127.0.0.1:{port}/v5/private",
            "speed": pace.execute_speed,
        },
        market={"symbols": (SYMBOL,), "part_seconds": 30},
        training={"timeframe": "1m", "trials": pace.trials, "seed": seed, "members": 3, "holdout_share": 0.25},
        executor={"timeframe": "1m"},
    )
    file = folder / "purplesky.toml"
    file.write_text(configuration.to_toml(own), encoding="utf-8")
    return configuration.load(file)


def _set_speed(port: int, speed: float) -> None:
    """Ask the local exchange for another clock: the market's speed is a property of the venue, not of our code."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/control",
        data=json.dumps({"speed": speed}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10):
        pass


def _pipeline(own: Settings, port: int, pace: Pace, step: _Steps) -> dict[str, Any]:
    """Capture, validate, train, register, promote; the parts of the summary that they give."""
    from council.registry import Registry
    from flows import run_capture, run_train, run_validate
    from market import Lake

    step(f"capturing order book and trades for {pace.capture_seconds:.0f} s at {pace.capture_speed:.0f} x speed")
    _set_speed(port, pace.capture_speed)
    try:
        run_capture(own, (SYMBOL,), pace.capture_seconds)
    finally:
        _set_speed(port, 1.0)
    counts = Lake(own.paths.lake).counts(SYMBOL, own.market.stall_ms)

    step("validating the capture with Great Expectations")
    validation = run_validate(own, SYMBOL, None)

    step(f"training: {pace.trials} trials under combinatorial purged cross-validation, council, gate, registry")
    training = run_train(own, SYMBOL)

    step("promoting the registered version to Production")
    registry = Registry(own.registry_uri, own.paths.mlruns / "artifacts")
    name = own.model_name(SYMBOL, own.training.timeframe)
    registry.promote(name, training.version)
    production = registry.production(name)
    return {
        "capture": {
            "level_changes": counts["level_changes"],
            "trades": counts["trades"],
            "suspect_windows": counts["suspect_windows"],
        },
        "validation": {"status": validation.status, "report": str(validation.report)},
        "training": {
            "trials": training.result.trials,
            "splits": training.result.splits,
            "members": training.result.members,
            "report": str(training.result.report),
        },
        "gate": {
            "passed": training.result.gate.passed,
            "dsr": training.result.gate.dsr,
            "pbo": training.result.gate.pbo,
        },
        "model": {"name": name, "version": training.version, "production": production.version == training.version},
    }


def _execute(config: Path, folder: Path, pace: Pace, port: int, echo: Callable[[str], None]) -> dict[str, Any]:
    """Run the daemon as a process of its own until it has decided and traded enough.

    The market runs at wall speed until the daemon listens: what it misses while it starts is a hole in its features.
    """
    result = folder / "executor-summary.json"
    command = [sys.executable, "-m", "purplesky", "--config", str(config), "execute", "--symbol", SYMBOL]
    command += ["--feed", "venue", "--max-bars", str(pace.decisions), "--min-closed", "1"]
    command += ["--max-seconds", str(pace.execute_seconds), "--summary", str(result)]
    log = folder / "logs" / "executor.log"
    with Child("executor", command, log) as executor:
        shown, listening = 0, False
        deadline = time.monotonic() + pace.execute_seconds + 60
        while executor.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.5)
            shown = _follow(log, shown, echo)
            if not listening and _listens(folder / "executor" / "dry-run" / SYMBOL / "status.json"):
                listening = True
                _set_speed(port, pace.execute_speed)
        executor.wait(1)
        _follow(log, shown, echo)
        if executor.process.returncode != 0:
            executor.check()
    summary: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return summary


def _listens(status: Path) -> bool:
    """Whether the executor has heard from the market; its status file is replaced whole, so it is never half there."""
    return status.exists() and json.loads(status.read_text(encoding="utf-8"))["venue_ms"] > 0


def _follow(log: Path, shown: int, echo: Callable[[str], None]) -> int:
    """Echo what was added to a log since `shown` bytes; the new position."""
    with log.open("rb") as file:
        file.seek(shown)
        added = file.read()
    whole = added[: added.rfind(b"\n") + 1]
    for line in whole.decode("utf-8", "replace").splitlines():
        echo(f"      {line}")
    return shown + len(whole)


def _summary_text(summary: dict[str, Any], folder: Path) -> str:
    capture, training, gate, model, trades = (
        summary[key] for key in ("capture", "training", "gate", "model", "executor")
    )
    verdict = "PASSED" if gate["passed"] else "FAILED"
    return "\n".join(
        [
            "",
            f"done in {summary['seconds']:.0f} s",
            f"  captured    {capture['level_changes']:,} level changes, {capture['trades']:,} trades, "
            f"{capture['suspect_windows']} suspect windows",
            f"  validation  {summary['validation']['status']}",
            f"  training    {training['trials']} trials x {training['splits']} splits, {training['members']} members",
            f"  gate        {verdict}: deflated Sharpe {gate['dsr']:.3f}, overfitting probability {gate['pbo']:.3f}",
            f"  model       {model['name']} version {model['version']}"
            + (", in Production" if model["production"] else ""),
            f"  executor    {trades['decisions']} decisions, {trades['orders']} orders, {trades['fills']} fills, "
            f"{trades['closed']} closed, net PnL {float(trades['net_pnl']):+.2f} USDT after fees",
            "",
            "look at",
            f"  data validation   {summary['validation']['report']}",
            f"  training report   {training['report']}",
            f"  this summary      {folder / 'summary.json'}",
            "  MLflow, Prefect   make ui",
        ]
    )
