"""The gate: every condition by itself, and what is unknown meets none."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from settings import Gate
from training.backtest import Track
from training.gate import GateVerdict, judge
from training.holdout import HoldOutResult
from training.leaks import Foresight


def _track(mean: float, trades: int = 40, rows: int = 1_000, seed: int = 0) -> Track:
    generator = np.random.default_rng(seed)
    filled = np.zeros(rows, np.bool_)
    filled[generator.choice(rows, trades, replace=False)] = True
    returns = np.where(filled, generator.normal(mean, 0.002, rows), 0.0)
    return Track(returns, filled.copy(), filled, unknown=0)


def _holdout(track: Track) -> HoldOutResult:
    rows = len(track.returns)
    return HoldOutResult(
        track,
        np.arange(rows, dtype=np.int64),
        np.zeros(rows, np.int8),
        np.array([-0.01, -0.02]),
        0.05,
        np.full((1, 2), 0.1),
    )


@dataclass
class Evidence:
    """A strong council; tests weaken one thing at a time."""

    rules: Gate = field(default_factory=Gate)
    paths: list[Track] = field(default_factory=lambda: [_track(0.002, 80, seed=seed) for seed in range(5)])
    returns: NDArray[np.float64] = field(
        default_factory=lambda: np.column_stack(
            [_track(0.002 * (n == 3) - 0.001, 80, seed=n).returns for n in range(9)]
        )
    )
    random: NDArray[np.float64] = field(default_factory=lambda: np.linspace(-0.1, 0.01, 200))
    inherited: int = 0
    foresight: tuple[Foresight, ...] = ()
    reads: int = 1
    holdout: HoldOutResult = field(default_factory=lambda: _holdout(_track(0.002, 20, 300)))

    def verdict(self) -> GateVerdict:
        sharpes = np.array(
            [column.mean() / column.std(ddof=1) if column.any() else math.nan for column in self.returns.T]
        )
        return judge(
            self.rules,
            paths=self.paths,
            sharpes=sharpes,
            returns=self.returns,
            random=self.random,
            holdout=self.holdout,
            inherited=self.inherited,
            foresight=self.foresight,
            reads=self.reads,
        )


def _unmet(verdict: GateVerdict) -> set[str]:
    return {reason.name for reason in verdict.reasons if not reason.passed}


def test_a_strong_council_passes_and_says_why() -> None:
    verdict = Evidence().verdict()
    assert verdict.passed
    assert _unmet(verdict) == set()
    assert [reason.name for reason in verdict.reasons] == [
        "dsr", "overfitting", "paths", "random", "leaks", "holdout_reads", "holdout_trades", "holdout_return",
    ]  # fmt: skip
    assert verdict.figures["tried"] == 9


def test_every_condition_can_fail_alone() -> None:
    returns = Evidence().returns
    assert _unmet(Evidence(returns=returns - returns.mean(axis=0)).verdict()) == {"overfitting"}
    assert _unmet(Evidence(rules=Gate(min_dsr=1 - 1e-16)).verdict()) == {"dsr"}
    assert _unmet(Evidence(rules=Gate(min_holdout_trades=21)).verdict()) == {"holdout_trades"}
    assert _unmet(Evidence(holdout=_holdout(_track(-0.002, 20, 300))).verdict()) == {"holdout_return"}
    assert _unmet(Evidence(random=np.full(200, 1.0)).verdict()) == {"random"}
    paths = [_track(0.002, 80, seed=seed) for seed in range(3)] + [_track(-0.001, 80, seed=seed) for seed in (8, 9)]
    assert "paths" in _unmet(Evidence(paths=paths).verdict())


def test_everything_tried_counts_even_what_never_traded() -> None:
    few = Evidence().verdict()
    evidence = Evidence()
    evidence.returns = np.column_stack([evidence.returns, np.zeros((1_000, 200))])
    many = evidence.verdict()
    assert many.figures["tried"] == 209
    assert many.figures["dsr_hurdle"] > few.figures["dsr_hurdle"]
    assert many.dsr < few.dsr
    # Copies of one trial are one trial to the paper, and many to the gate.
    copies = np.column_stack([evidence.returns[:, :9]] + [evidence.returns[:, 3] * (1 + 1e-6 * n) for n in range(200)])
    verdict = Evidence(returns=copies).verdict()
    assert verdict.figures["tried_independent"] < 40
    assert verdict.dsr < verdict.figures["dsr_independent"] <= verdict.figures["psr"]


def test_what_is_unknown_meets_nothing() -> None:
    silent = Track(np.zeros(1_000), np.zeros(1_000, np.bool_), np.zeros(1_000, np.bool_), unknown=0)
    verdict = Evidence(paths=[silent] * 5, returns=np.zeros((1_000, 4))).verdict()
    assert not verdict.passed
    assert math.isnan(verdict.dsr)
    assert {"dsr", "paths", "random"} <= _unmet(verdict)
    assert "unknown" in next(reason.text for reason in verdict.reasons if reason.name == "dsr")


def test_one_trial_has_no_selection_to_judge() -> None:
    verdict = Evidence(returns=Evidence().returns[:, :1]).verdict()
    assert {"dsr", "overfitting"} <= _unmet(verdict)


def test_the_verdict_is_plain_json() -> None:
    verdict = Evidence(returns=np.zeros((1_000, 4))).verdict()
    plain = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert plain["dsr"] is None
    assert plain["passed"] is False
    assert len(plain["reasons"]) == 8


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_many_lucky_ones_does_not_pass(seed: int) -> None:
    generator = np.random.default_rng(seed)
    returns = generator.normal(0.0, 0.001, (1_000, 100))
    best = returns[:, int(np.argmax(returns.mean(axis=0)))]
    lucky = Track(best, np.ones(1_000, np.bool_), np.ones(1_000, np.bool_), unknown=0)
    verdict = Evidence(paths=[lucky] * 5, returns=returns).verdict()
    assert verdict.figures["psr"] > 0.95
    assert "dsr" in _unmet(verdict)


def test_a_leak_and_a_second_look_fail_by_themselves() -> None:
    leak = Foresight("tomorrow", 0.9, 0.8, "the return over the next 1 bar")
    verdict = Evidence(foresight=(leak, Foresight("honest", 0.1, 0.02, "the outcome of a long plan"))).verdict()
    assert _unmet(verdict) == {"leaks"}
    assert "tomorrow" in next(reason.text for reason in verdict.reasons if reason.name == "leaks")
    assert _unmet(Evidence(reads=2).verdict()) == {"holdout_reads"}
    assert _unmet(Evidence(reads=0).verdict()) == {"holdout_reads"}


def test_what_an_earlier_study_tried_counts_too() -> None:
    own, heir = Evidence().verdict(), Evidence(inherited=500).verdict()
    assert heir.figures["tried"] == own.figures["tried"] + 500
    assert heir.figures["dsr_hurdle"] > own.figures["dsr_hurdle"]
    assert heir.dsr < own.dsr


def test_a_low_pbo_excuses_no_loss_and_a_high_one_accuses_no_gain() -> None:
    """What calibration found: losers keep their order (a low PBO), and where all earn it is chance who leads."""
    noise = np.random.default_rng(8).normal(0.0, 0.002, (1_000, 9))
    losers = Evidence(returns=noise - 0.003 * np.arange(1, 10)).verdict()
    assert losers.pbo < 0.05
    assert "overfitting" in _unmet(losers)
    earners = Evidence(returns=noise + 0.001).verdict()
    assert earners.pbo > 0.3
    assert "overfitting" not in _unmet(earners)
