"""Days on the local exchange at speed: an executor process in dry-run, a recorder beside it, and the backtest of both.

The exchange stands still until executor and recorder have subscribed, so that both see the same frames from the first
one on; then it runs as fast as the slower of them reads: it loses nothing, its clock slips instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np

import settings as configuration
from council import Council, Member, StrategyParams, TrainingProfile, TreeModel, save_bundle
from council.manifest import Manifest
from council.plan import make_plan
from council.registry import Registry
from executor import risk
from executor.actions import Decided, PlaceEntry, TradeClosed, decode_actions
from executor.build import core_config
from executor.events import Filled, decode_event
from executor.reader import JournalReader
from executor.status import folder_of
from features import Bars, FeatureEngine, feature_names, spec_hash
from market import Lake
from market.days import lake_days
from market.events import EventBatch
from market.recorder import Recorder
from settings import Settings
from simulation import SYNTHETIC, ExitReason, FillModel, PlanStatus, synthetic_events
from simulation.fills import PlanOutcomes
from tests.executor.conftest import MINUTE, START_MS, asked_before
from training.funding import funding_of
from training.holdout import council_track
from training.outcomes import Costs, Simulator, tradable

ROOT = Path(__file__).parents[2]
SYMBOL = SYNTHETIC.symbol
LEVELS = 200
#: Passive and directional entries, targets at market and in the book: each member may carry a plan on its own.
STYLES = (
    StrategyParams(offset_atr=0.05, stop_atr=1.0, target_atr=1.5, tif_bars=2, hold_bars=5),
    StrategyParams(offset_atr=0.1, stop_atr=1.5, target_atr=1.0, tif_bars=3, hold_bars=9, target_maker=True),
    StrategyParams(offset_atr=0.3, stop_atr=1.2, target_atr=2.0, tif_bars=1, hold_bars=7, entry="directional"),
)


# --- the council ------------------------------------------------------------------------------------------------------


@cache
def trained(hours: int = 8) -> tuple[Council, TrainingProfile]:
    """A council of three that was trained on a market of its own: another seed, the days before."""
    start_ms, length_ms = START_MS - 7 * 24 * 60 * MINUTE, hours * 60 * MINUTE
    events = EventBatch.concat(synthetic_events(1234, 1.0, start_ms, length_ms, levels=LEVELS))
    bars = FeatureEngine(MINUTE, LEVELS, MINUTE).push(events)
    bars = bars[tradable(bars)]
    names = feature_names(LEVELS)
    known = np.isfinite(bars.values).mean(axis=0) > 0.9
    columns = np.flatnonzero(known)
    picked = tuple(names[column] for column in columns)
    model = FillModel(50, 0.0002, 0.00055)
    simulator = Simulator(bars, lambda: [events], SYNTHETIC, MINUTE, Costs(model, 1_000.0))
    members = []
    for rank, params in enumerate(STYLES, 1):
        table = simulator.table(params)
        models, levels = {}, []
        for which, side in enumerate(("long", "short")):
            rows = table.closed[:, which]
            wins = (table.net_return[rows, which] > np.median(table.net_return[rows, which])).astype(np.int8)
            options = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 7, "seed": rank}
            data = lgb.Dataset(bars.values[rows][:, columns], wins, feature_name=list(picked), params=options)
            booster = lgb.train(options, data, 20)
            models[side] = TreeModel.from_booster(booster)
            levels.append(float(np.quantile(booster.predict(bars.values[:, columns]), 0.85)))
        members.append(Member(rank, params, levels[0], levels[1], models))
    profile = TrainingProfile.of(bars.values, names)
    manifest = Manifest(SYMBOL, "1m", LEVELS, MINUTE, "0" * 64, (0, 1), "", {"passed": True}, profile=profile)
    return Council(tuple(members), 0.3, names, picked, manifest), profile


# --- the machines -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def exchange(seed: int, speed: float = 0.0, **options: Any) -> Iterator[str]:
    """A local exchange in a process of its own; its address."""
    options |= {"seed": seed, "port": 0, "speed": speed}
    words = ", ".join(f"{key}={value!r}" for key, value in options.items())
    code = f"from simulation.exchange import run_exchange; run_exchange({words})"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2]
        finally:
            process.send_signal(signal.SIGTERM)


def control(url: str, **words: Any) -> dict[str, Any]:
    """Steer an exchange; its state."""
    body = json.dumps(words).encode() if words else None
    request = urllib.request.Request(f"{url}/control", data=body, method="POST" if words else "GET")
    with urllib.request.urlopen(request, timeout=30) as answer:
        state: dict[str, Any] = json.load(answer)
    return state


def settings_for(folder: Path, url: str, **sections: dict[str, Any]) -> Settings:
    """Settings of an installation in `folder` that trades at `url`."""
    socket = url.replace("http", "ws", 1)
    base: dict[str, dict[str, Any]] = {
        "paths": {"data": folder / "data", "mlruns": folder / "mlruns"},
        # The exchange stands still for as long as the processes take to start: that is no dead connection.
        "market": {"symbols": (SYMBOL,), "ob_levels": LEVELS, "idle_seconds": 120.0},
        # Wall time that a frame waits in a queue is not market time at this speed.
        "executor": {"timeframe": "1m", "registry_poll_s": 5.0, "page_port": 0, "max_bar_delay_ms": 3_600_000},
        "venue": {"rest_url": url, "public_url": f"{socket}/v5/public/linear", "private_url": f"{socket}/v5/private"},
    }
    for name, section in sections.items():
        base[name] = base.get(name, {}) | section
    return configuration.override(Settings(), **base)


def install(settings: Settings, council: Council, profile: TrainingProfile | None, *, timeframe: str = "1m") -> Path:
    """Put a council into Production, and the settings into a file; its path."""
    root = settings.paths.mlruns.parent
    save_bundle(
        root / "bundle", council, symbol=SYMBOL, timeframe=timeframe, levels=LEVELS, stall_ms=settings.market.stall_ms,
        spec_hash=spec_hash(configuration.timeframe_ms(timeframe), LEVELS, settings.market.stall_ms),
        data_fingerprint="another market",
        gate={"passed": True}, window_ms=(0, 1), profile=profile,
    )  # fmt: skip
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    name = settings.model_name(SYMBOL, timeframe)
    registry.promote(name, registry.register(name, root / "bundle"))
    asked_before(settings)
    config = root / "purplesky.toml"
    config.write_text(configuration.to_toml(settings), encoding="utf-8")
    return config


def start_executor(config: Path, *options: str, log: Path) -> subprocess.Popen[bytes]:
    """`purplesky execute` as a process; what it says goes into `log`."""
    command = [sys.executable, "-m", "purplesky", "--config", str(config), "execute", "--symbol", SYMBOL, *options]
    with log.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)


# --- a run ------------------------------------------------------------------------------------------------------------


def captured_session(folder: Path, minutes: int, seed: int, **sections: dict[str, Any]) -> Settings:
    """Let executor and recorder see so many minutes of a market; journal and lake are in the settings' paths."""
    with exchange(seed) as url:
        settings = settings_for(folder, url, **sections)
        config = install(settings, *trained())
        log = folder / "executor.log"
        process = start_executor(config, "--feed", "venue", log=log)
        try:
            asyncio.run(_record(settings, url, minutes, process, log))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    return settings


async def _record(settings: Settings, url: str, minutes: int, process: subprocess.Popen[bytes], log: Path) -> None:
    recorder = Recorder(
        Lake(settings.paths.lake), settings.venue.public_url, {SYMBOL: SYNTHETIC}, [SYMBOL],
        levels=LEVELS, part_seconds=30, idle_seconds=120.0,
    )  # fmt: skip
    stop = asyncio.Event()
    recording = asyncio.create_task(recorder.run(stop))
    try:
        start_ms = (await asyncio.to_thread(control, url))["market_ms"]
        await _subscribed(url, 2, process, log)
        end_ms = start_ms + minutes * MINUTE
        await asyncio.to_thread(control, url, speed=20_000.0)
        while (await asyncio.to_thread(control, url))["market_ms"] < end_ms:
            assert process.poll() is None, log.read_text()
            assert not recording.done(), recording.result()
            await asyncio.sleep(0.05)
        stopped = await asyncio.to_thread(control, url, speed=0.0)
        last_bar_ms = (stopped["market_ms"] // MINUTE - 1) * MINUTE
        await _decided(settings, last_bar_ms, process, log)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 60) == 0, log.read_text()
    finally:
        stop.set()
        await recording


async def _subscribed(url: str, connections: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until so many are listening, and have been told everything that there is to tell."""
    seen, since = -1, time.monotonic()
    while True:
        state = await asyncio.to_thread(control, url)
        if state["frames"] != seen or state["public_connections"] < connections:
            seen, since = state["frames"], time.monotonic()
        if time.monotonic() - since > 1.0:
            return
        assert process.poll() is None, log.read_text()
        await asyncio.sleep(0.1)


async def _decided(settings: Settings, open_ms: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the executor has decided on a bar."""
    reader = JournalReader(folder_of(settings, SYMBOL, "dry-run"))
    try:
        while True:
            [(last,)] = reader.query("SELECT max(open_ms) FROM decisions")
            if last is not None and int(str(last)) >= open_ms:
                return
            assert process.poll() is None, log.read_text()
            await asyncio.sleep(0.1)
    finally:
        reader.close()


# --- both sides -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Life:
    """What became of an order plan; ticks, steps, ms, and the account's currency."""

    open_ms: int
    side: int
    size: int
    limit: int
    filled: int
    entry_ms: int
    exit_ms: int
    entry_value: int
    exit_value: int
    reason: str


@dataclass(frozen=True)
class Account:
    """One side of the comparison.

    Attributes
    ----------
    lives
        Of the plans whose outcome is known, in order.
    money
        Fees, funding and net profit of each, in the account's currency.
    refused
        Why the executor did not follow a signal, by open of the bar; for the backtest, empty.
    """

    lives: list[Life]
    money: list[tuple[float, float, float]]
    refused: dict[int, str]


def executed(settings: Settings) -> Account:
    """What the journal says."""
    reader = JournalReader(folder_of(settings, SYMBOL, "dry-run"))
    sent: dict[str, tuple[int, PlaceEntry]] = {}
    last_exit: dict[str, int] = {}
    lives: list[Life] = []
    money: list[tuple[float, float, float]] = []
    refused: dict[int, str] = {}
    current = ""
    for _, event, text in reader.turns(1):
        seen, actions = decode_event(event), decode_actions(text)
        if isinstance(seen, Filled) and seen.role != "entry":
            last_exit[current] = seen.time_ms
        for action in actions:
            if isinstance(action, Decided) and action.link_id is None:
                refused[action.open_ms] = action.reason
            elif isinstance(action, Decided):
                current = str(action.link_id)
                [order] = [one for one in actions if isinstance(one, PlaceEntry)]
                sent[current] = (action.open_ms, order)
            elif isinstance(action, TradeClosed):
                open_ms, order = sent[action.link_id]
                entry_ms = -1 if action.entry_ms is None else action.entry_ms
                values = (action.entry_value, action.exit_value)
                reason = action.reason if action.filled else "none"
                lives.append(
                    Life(open_ms, order.side, order.size, order.limit, action.filled, entry_ms,
                         last_exit.get(action.link_id, -1), *values, reason)
                )  # fmt: skip
                money.append((float(action.fees), float(action.funding), float(action.net_pnl)))
    reader.close()
    return Account(lives, money, refused)


def backtested(settings: Settings, executor: Account) -> tuple[Account, int]:
    """The backtest of the same council on what was captured, at the executor's own stake; and its plans of unknown end.

    Signals that the executor did not follow for a declared reason are left out; that one is busy with another plan is
    the backtest's own rule, and is not taken over.
    """
    lake = Lake(settings.paths.lake)

    def tape() -> Iterator[EventBatch]:
        return (piece for day in lake_days(lake, SYMBOL) for piece in day.events())

    engine = FeatureEngine(MINUTE, LEVELS, settings.market.stall_ms)
    bars = Bars.concat([engine.push(piece) for piece in tape()])
    bars = bars[tradable(bars)]
    council, _ = trained()
    costs = settings.costs
    model = FillModel(costs.order_latency_ms, float(costs.maker_fee), float(costs.taker_fee))
    simulator = Simulator(
        bars, tape, SYNTHETIC, MINUTE, Costs(model, float(settings.training.plan_notional)), funding_of(lake, SYMBOL)
    )
    # A backtest stakes a constant sum, the executor a share of its equity: the size is the executor's, and is checked.
    sizes = {life.open_ms: life.size for life in executor.lives}
    given = np.array([sizes.get(open_ms, -1) for open_ms in bars.open_ms.tolist()])
    simulator._size = np.where(given > 0, given, simulator._size)
    decisions = council.vote_many(bars.values)
    for row, open_ms in enumerate(bars.open_ms.tolist()):
        if declared(executor.refused.get(open_ms, "")):
            decisions.side[row] = 0
    council = _Decided(council, decisions)  # type: ignore[assignment]
    taken = np.flatnonzero(council_track(council, simulator).taken)
    params = [decisions.params(row) for row in taken.tolist()]
    lives = simulator.lives(taken, decisions.side[taken], params)  # type: ignore[arg-type]
    config = core_config(settings, SYNTHETIC)
    equity, known, money, told = settings.executor.start_equity, [], [], 0
    for place, row in enumerate(taken.tolist()):
        plan = make_plan(params[place], int(decisions.side[row]), int(bars.close[row]), float(bars.atr[row]), MINUTE)  # type: ignore[arg-type]
        assert plan is not None
        size, why = risk.size_steps(config, config.rules(), equity, plan.limit, plan.stop)
        assert not why
        if lives.status[place] == PlanStatus.UNKNOWN:
            told += 1
            continue
        known.append(_life(lives, place, int(bars.open_ms[row]), plan.side, size, plan.limit))
        money.append(_money(lives, place, plan.side))
        equity += Decimal(repr(round(money[-1][2], 9)))
    return Account(known, money, {}), told


class _Decided:
    """A council that has decided already."""

    def __init__(self, council: Council, decisions: Any) -> None:
        self.members, self._decisions = council.members, decisions

    def vote_many(self, _: Any) -> Any:
        return self._decisions


def declared(reason: str) -> bool:
    """Whether a refusal is by a rule that a backtest does not have; a bar without a signal has no such reason."""
    ours = ("busy with", "no quorum", "opposite votes", "long:", "short:")
    return bool(reason) and not reason.startswith(ours)


def _life(lives: PlanOutcomes, place: int, open_ms: int, side: int, size: int, limit: int) -> Life:
    reason = ExitReason(int(lives.exit_reason[place])).name.lower()
    return Life(
        open_ms, side, size, limit, int(lives.filled[place]), int(lives.entry_ms[place]), int(lives.exit_ms[place]),
        int(lives.entry_value[place]), int(lives.exit_value[place]), reason,
    )  # fmt: skip


def _money(lives: PlanOutcomes, place: int, side: int) -> tuple[float, float, float]:
    unit = float(SYNTHETIC.tick_size * SYNTHETIC.qty_step)
    fees, funding = float(lives.fees[place]) * unit, float(lives.funding[place]) * unit
    gross = side * int(lives.exit_value[place] - lives.entry_value[place]) * unit
    return fees, funding, gross - fees - funding
