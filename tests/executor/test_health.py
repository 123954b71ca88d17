"""The health monitor: how often it cries without reason, that it cries with one, and what the core makes of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from council.manifest import PROBABILITIES, Manifest, TrainingProfile
from executor.actions import Alert, MemberSaid, Voted
from executor.events import CouncilChanged, HealthChanged, Resume
from executor.health import Drift, Outcomes, Ranks, _tails
from executor.monitor import TRADES, HealthConfig, HealthMonitor, prediction_name
from tests.executor.conftest import MINUTE, Bench

Floats = npt.NDArray[np.float64]
NAMES = tuple("abcdefghij")


def autoregressive(rng: np.random.Generator, rows: int, columns: int, memory: float) -> Floats:
    """Standard normal columns with correlation `memory` from row to row."""
    values = rng.normal(size=(rows, columns))
    for row in range(1, rows):
        values[row] = memory * values[row - 1] + math.sqrt(1 - memory**2) * values[row]
    return values


def ranks_of(values: Floats) -> dict[str, Ranks]:
    profile = TrainingProfile.of(values, NAMES[: values.shape[1]])
    found = {name: Ranks.of(profile.probabilities, quantiles) for name, quantiles in profile.quantiles.items()}
    return {name: ranks for name, ranks in found.items() if ranks is not None}


def test_students_tails_are_those_of_the_tables() -> None:
    assert [_tails(t) for t in (0.0, 1.833, 2.262, 4.781)] == pytest.approx([1.0, 0.1, 0.05, 0.001], rel=2e-3)


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_drift_cries_falsely_no_more_often_than_declared(memory: float) -> None:
    rng = np.random.default_rng(17)
    rate, windows = 0.05, 150
    ranks = ranks_of(np.exp(rng.normal(size=(50_000, 10))))  # skewed: ranks do not mind
    drift = Drift(ranks, NAMES, window=200, rate=rate)
    values = np.exp(autoregressive(rng, windows * 200, 10, memory))
    alarms = sum(bool(drift.add(row)) for row in values)
    # Three standard deviations of what the declared rate allows.
    assert alarms / windows <= rate + 3 * math.sqrt(rate * (1 - rate) / windows)


@pytest.mark.parametrize("change", ["moved", "narrowed", "widened", "frozen"])
def test_drift_is_seen(change: str) -> None:
    rng = np.random.default_rng(4)
    drift = Drift(ranks_of(rng.normal(size=(20_000, 10))), NAMES, window=200, rate=0.01)
    values = autoregressive(rng, 200, 10, 0.3)
    column = values[:, 3]
    values[:, 3] = {"moved": column + 0.8, "narrowed": column / 3, "widened": column * 3, "frozen": column * 0 + 1.7}[
        change
    ]
    found = [drift.add(row) for row in values]
    assert found[:-1] == [None] * 199
    assert found[-1] is not None
    assert list(found[-1]) == ["d"]


def test_what_is_not_known_is_not_judged() -> None:
    rng = np.random.default_rng(4)
    training = np.column_stack([np.repeat([0.0, 1.0, 2.0], [600, 300, 100]), rng.normal(size=(1_000, 2))])
    drift = Drift(ranks_of(training), NAMES[:3], window=40, rate=0.001)
    rows = np.column_stack([np.full(40, 7.0), np.full(40, np.nan), rng.normal(size=40)])
    # Ties hide where the mass lies, and an unknown column says nothing.
    assert [drift.add(row) for row in rows][-1] == {}


def test_outcomes_cry_falsely_no_more_often_than_declared_however_long_one_looks() -> None:
    rng = np.random.default_rng(8)
    paths = rng.standard_t(3, size=5_000) * 0.002 + 0.0003
    ranks = Ranks.of(PROBABILITIES, np.quantile(paths, PROBABILITIES).tolist())
    assert ranks is not None
    rate, lives = 0.05, 150
    alarms = 0
    for _ in range(lives):
        watch = Outcomes(ranks, rate)
        alarms += any(watch.add(net) for net in rng.choice(paths, 150))
    assert alarms / lives <= rate + 3 * math.sqrt(rate * (1 - rate) / lives)


def test_outcomes_that_are_worse_are_seen_and_better_ones_are_not() -> None:
    rng = np.random.default_rng(8)
    paths = rng.normal(0.0005, 0.002, 5_000)
    ranks = Ranks.of(PROBABILITIES, np.quantile(paths, PROBABILITIES).tolist())
    assert ranks is not None
    worse, better = Outcomes(ranks, 0.01), Outcomes(ranks, 0.01)
    assert any(worse.add(net) for net in rng.normal(-0.001, 0.002, 100))
    assert not any(better.add(net) for net in rng.normal(0.002, 0.002, 1_000))


def monitor(rng: np.random.Generator, **changes: Any) -> HealthMonitor:
    columns = ("x", prediction_name(1, "long"), prediction_name(1, "short"))
    profile = TrainingProfile.of(rng.uniform(size=(5_000, 3)), columns)
    quantiles = np.quantile(rng.normal(0.001, 0.002, 5_000), PROBABILITIES).tolist()
    trades = {"probabilities": list(PROBABILITIES), "quantiles": quantiles}
    manifest = Manifest("SYNUSDT", "1m", 50, MINUTE, "0" * 64, (0, 1), "", {"passed": True}, {TRADES: trades}, profile)
    return HealthMonitor(manifest, ("x",), (1,), HealthConfig(window=40, **changes))


def voted(long: float, short: float) -> Voted:
    return Voted("c", 0, 0.0, (MemberSaid(1, 0, long, short),), "")


def test_each_finding_has_its_measure_and_the_worst_one_counts() -> None:
    rng = np.random.default_rng(2)
    watch = monitor(rng)
    assert watch.blind == []
    [first] = [v for x, p in rng.uniform(size=(40, 2)) if (v := watch.bar(np.array([2.0 + x]), voted(p, p)))]
    assert (first.scale, first.text) == (1.0, "1 features drifted from training: x")
    [second] = [v for p in rng.uniform(size=40) if (v := watch.bar(np.array([3.0 + p]), voted(0.9, p)))]
    assert second.scale == 0.5
    assert "prediction.1.long" in second.text
    verdicts = [v for net in rng.normal(-0.003, 0.002, 200) if (v := watch.trade(net))]
    assert [v.scale for v in verdicts] == [0.0]
    assert "worse than the backtest's" in verdicts[0].text


def test_a_drift_that_is_over_is_taken_back() -> None:
    rng = np.random.default_rng(2)
    watch = monitor(rng, features="shrink")
    drifted = [watch.bar(np.array([2.0 + x]), None) for x in rng.uniform(size=40)]
    well = [watch.bar(np.array([x]), None) for x in rng.uniform(size=40)]
    assert drifted[-1] is not None
    assert well[-1] is not None
    assert (drifted[-1].scale, well[-1].scale) == (0.5, 1.0)


def test_a_bundle_without_distributions_leaves_the_monitor_blind_not_blocking() -> None:
    manifest = Manifest("SYNUSDT", "1m", 50, MINUTE, "0" * 64, (0, 1), "", {"passed": True})
    watch = HealthMonitor(manifest, ("x",), (1,), HealthConfig(window=20))
    assert watch.blind == ["features", "predictions", "outcomes"]
    assert all(watch.bar(np.array([9.0]), voted(0.5, 0.5)) is None for _ in range(50))
    assert watch.trade(-1.0) is None


def test_the_core_shrinks_entries() -> None:
    usual, shrunk = Bench(), Bench()
    usual.bar(float("nan")), shrunk.bar(float("nan"))  # the council takes over
    shrunk.on(HealthChanged(shrunk.now, 0.5, "predictions drifted"))
    sizes = usual.enter().size, shrunk.enter().size
    assert sizes[1] == pytest.approx(sizes[0] / 2, abs=1)
    assert any(isinstance(action, Alert) and "50%" in action.text for action in shrunk.actions)


def test_the_core_pauses_until_a_person_resumes_and_looks_after_what_is_open() -> None:
    bench = Bench()
    order = bench.enter()
    bench.fill(order)
    bench.on(HealthChanged(bench.now, 0.0, "trades are worse than the backtest's"))
    assert not bench.closes()  # exits are the plan's
    bench.fill(order, role="stop")
    bench.on(HealthChanged(bench.now, 1.0, "well again"))  # a pause is not lifted by the monitor
    bench.bar()
    assert bench.decisions()[-1].reason == "health: trades are worse than the backtest's"
    bench.on(Resume(bench.now))
    bench.enter()


def test_another_council_starts_with_a_clean_bill() -> None:
    bench = Bench()
    bench.bar(float("nan"))
    bench.on(HealthChanged(bench.now, 0.0, "worse"))
    bench.bar()
    bench.on(CouncilChanged(bench.now, "short", 2, True))
    bench.enter(-0.5)
    assert [decided.reason for decided in bench.decisions()][-2:] == ["health: worse", ""]
