"""The gate: whether a council may trade live, with every reason in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from settings import Gate
from training import statistics
from training.backtest import Track
from training.holdout import HoldOutResult
from training.leaks import Foresight, suspects
from training.reliability import Reliability


@dataclass(frozen=True, slots=True)
class Reason:
    """One condition.

    Attributes
    ----------
    name
        Short and stable, for machines.
    passed
        Whether it is met. An unknown figure meets nothing.
    text
        For people, with the figure and the limit.
    """

    name: str
    passed: bool
    text: str


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The verdict.

    Attributes
    ----------
    passed
        Whether every condition is met.
    dsr
        Deflated Sharpe ratio of the council, a probability; NaN if undefined.
    pbo
        Probability of backtest overfitting of the study; NaN if undefined.
    reasons
        All conditions, met or not.
    figures
        What the verdict rests on.
    """

    passed: bool
    dsr: float
    pbo: float
    reasons: tuple[Reason, ...]
    figures: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what is not finite is ``None``."""
        return {
            "passed": self.passed,
            "dsr": _plain(self.dsr),
            "pbo": _plain(self.pbo),
            "reasons": [{"name": one.name, "passed": one.passed, "text": one.text} for one in self.reasons],
            "figures": {name: _plain(value) for name, value in self.figures.items()},
        }


def judge(
    rules: Gate,
    *,
    paths: Sequence[Track],
    sharpes: NDArray[np.float64],
    returns: NDArray[np.float64],
    random: NDArray[np.float64],
    holdout: HoldOutResult,
    inherited: int = 0,
    foresight: Sequence[Foresight] = (),
    reliability: Reliability | None = None,
    reads: int = 1,
    earlier_reads: int = 0,
) -> GateVerdict:
    """Judge a council.

    Parameters
    ----------
    rules
        The limits.
    paths
        Out-of-fold track records of the council, one a backtest path.
    sharpes : float64[configurations]
        Sharpe ratio, per bar, of everything that was tried; NaN for what never traded.
    returns : float64[n, configurations]
        Out-of-fold bar returns of everything that was tried.
    random : float64[runs]
        Total returns, on the development rows, of random entries with the council's plans.
    holdout
        The council on data that neither tuning nor ranking saw.
    inherited
        Configurations that earlier studies tried to find what this one began with.
    foresight
        What each feature foretells.
    reliability
        Of the members' probabilities.
    reads, earlier_reads
        How often this run looked at the hold-out (once is right), and how often earlier runs looked at a part of it.
    """
    figures = _development_figures(paths, sharpes, returns, random, inherited)
    figures |= _holdout_figures(holdout)
    figures |= {
        "foresight": max((one.low for one in foresight), default=0.0),
        "hindsight": max((one.hindsight for one in foresight if math.isfinite(one.hindsight)), default=math.nan),
        "calibration_error": reliability.error if reliability else math.nan,
        "brier_skill": reliability.skill if reliability else math.nan,
        "holdout_reads": float(reads),
        "holdout_earlier_reads": float(earlier_reads),
    }
    reasons = (
        *_development_reasons(rules, figures),
        _leak_reason(rules, foresight),
        *_holdout_reasons(rules, figures, holdout),
    )
    return GateVerdict(all(one.passed for one in reasons), figures["dsr"], figures["pbo"], reasons, figures)


def _development_figures(
    paths: Sequence[Track],
    sharpes: NDArray[np.float64],
    returns: NDArray[np.float64],
    random: NDArray[np.float64],
    inherited: int,
) -> dict[str, float]:
    # The candidate is measured as every trial was: the mean of the paths' Sharpe ratios over the bars of *one* path.
    # Pooling the paths would count the same bars several times over.
    bars = len(paths[0].returns)
    ratio = float(np.mean([path.sharpe for path in paths]))
    skew, kurtosis = statistics.moments(np.concatenate([path.returns for path in paths]))
    defined = sharpes[np.isfinite(sharpes)]
    variance = float(defined.var(ddof=1)) if len(defined) > 1 else math.nan
    # What an earlier study tried to find the parameters that this one began with was tried for this council as well.
    tried = len(sharpes) + inherited
    hurdle = statistics.expected_max_sharpe(tried, variance)
    # Reported only: the paper deflates by the independent trials among all, which is a lower hurdle. The gate takes
    # every trial for an independent one: a mean correlation is a rough guess, and this errs on the strict side.
    independent = statistics.effective_trials(returns)
    lower = statistics.expected_max_sharpe(max(1.0, independent) + inherited, variance)
    totals = np.array([path.total for path in paths])
    return {
        "bars": float(bars),
        "sharpe": ratio,
        "psr": statistics.probabilistic_sharpe(ratio, bars, skew, kurtosis),
        "dsr": statistics.probabilistic_sharpe(ratio, bars, skew, kurtosis, hurdle),
        "dsr_hurdle": hurdle,
        "dsr_independent": statistics.probabilistic_sharpe(ratio, bars, skew, kurtosis, lower),
        "tried": float(tried),
        "tried_inherited": float(inherited),
        "tried_independent": independent,
        "sharpe_variance": variance,
        "skew": skew,
        "kurtosis": kurtosis,
        "min_track_bars": statistics.min_track_record(ratio, skew, kurtosis, benchmark=hurdle),
        "pbo": statistics.backtest_overfitting(returns),
        "loss_probability": statistics.loss_probability(returns),
        "paths": float(len(paths)),
        "paths_positive": float((totals > 0).mean()),
        "path_return_mean": float(totals.mean()),
        "path_return_min": float(totals.min()),
        "path_trades": float(np.mean([path.trades for path in paths])),
        "path_fill_rate": statistics.fill_rate(
            sum(path.trades for path in paths), sum(path.orders - path.unknown for path in paths)
        ),
        "path_win_rate": float(np.mean([path.win_rate for path in paths])),
        "path_drawdown": float(max(statistics.max_drawdown(path.returns) for path in paths)),
        "path_sortino": float(np.mean([statistics.sortino(path.returns) for path in paths])),
        "random_return_p95": float(np.quantile(random, 0.95)),
    }


def _holdout_figures(holdout: HoldOutResult) -> dict[str, float]:
    track = holdout.track
    low, high = statistics.bootstrap_interval(track.returns, seed=1)
    return {
        "holdout_bars": float(len(track.returns)),
        "holdout_orders": float(track.orders),
        "holdout_trades": float(track.trades),
        "holdout_unknown": float(track.unknown),
        "holdout_return": track.total,
        "holdout_return_low": low,
        "holdout_return_high": high,
        "holdout_sharpe": track.sharpe,
        "holdout_win_rate": track.win_rate,
        "holdout_fill_rate": statistics.fill_rate(track.trades, track.orders - track.unknown),
        "holdout_exposure": holdout.exposure,
        "holdout_turnover": holdout.turnover,
        "holdout_drawdown": statistics.max_drawdown(track.returns),
        "holdout_random_return": float(holdout.random.mean()),
        "holdout_buy_and_hold": holdout.buy_and_hold,
    }


def _leak_reason(rules: Gate, foresight: Sequence[Foresight]) -> Reason:
    found = suspects(foresight, rules.max_foresight, rules.max_hindsight)
    if found:
        text = "; ".join(_leak(one, rules) for one in found[:3])
        text = f"No honest feature knows that much: {text}. Look for the future in how it is computed."
    else:
        text = (
            "No feature foretells what comes after its bar more surely than a rank correlation of "
            f"{rules.max_foresight:g}, beyond which it would be a leak, and of what is new in one the next bars "
            f"explain at most {_share(rules.max_hindsight)}: a filter that looks ahead is made of them."
        )
    return Reason("leaks", not found, text)


def _leak(one: Foresight, rules: Gate) -> str:
    if one.low > rules.max_foresight:
        return f"{one.name} foretells {one.what} with a rank correlation of {one.ic:+.2f}"
    return f"the next bars explain {_share(one.hindsight)} of what is new in {one.name}"


def _development_reasons(rules: Gate, figures: dict[str, float]) -> list[Reason]:
    return [
        Reason(
            "dsr",
            figures["dsr"] >= rules.min_dsr,
            f"The chance that the council's Sharpe ratio is real, after {figures['tried']:.0f} configurations were "
            f"tried, is {_share(figures['dsr'])}; at least {_share(rules.min_dsr)} is wanted.",
        ),
        Reason(
            # The PBO itself decides nothing: it ranks configurations among each other, so it is low where all of them
            # lose in a lasting order, and one half where all of them earn. Calibration showed both.
            "overfitting",
            figures["loss_probability"] <= rules.max_loss_probability,
            f"In {_share(figures['loss_probability'])} of the ways to halve the data, what was best on one half lost "
            f"money on the other; at most {_share(rules.max_loss_probability)} is allowed. "
            f"(In {_share(figures['pbo'])} it was at or below the middle of all that was tried.)",
        ),
        Reason(
            "paths",
            figures["paths_positive"] >= rules.min_path_share,
            f"{_share(figures['paths_positive'])} of the {figures['paths']:.0f} backtest paths ended with a gain after "
            f"costs; at least {_share(rules.min_path_share)} is wanted.",
        ),
        Reason(
            "random",
            figures["path_return_mean"] > max(figures["random_return_p95"], 0.0),
            f"The paths return {_percent(figures['path_return_mean'])} on average; doing nothing returns 0 % and the "
            f"best twentieth of random entries with the same plans {_percent(figures['random_return_p95'])}.",
        ),
    ]


def _holdout_reasons(rules: Gate, figures: dict[str, float], holdout: HoldOutResult) -> list[Reason]:
    trades = holdout.track.trades
    return [
        Reason(
            "holdout_reads",
            figures["holdout_reads"] == 1,
            f"The hold-out was read {_times(figures['holdout_reads'])} before this verdict, by the finished council; "
            f"earlier trainings read a part of it {_times(figures['holdout_earlier_reads'])}.",
        ),
        Reason(
            "holdout_trades",
            trades >= rules.min_holdout_trades,
            f"On the hold-out the council closed {trades} trades; at least {rules.min_holdout_trades} are wanted, "
            "fewer say nothing.",
        ),
        Reason(
            "holdout_return",
            figures["holdout_return"] > rules.min_holdout_return,
            f"On the hold-out it returned {_percent(figures['holdout_return'])} after costs; more than "
            f"{_percent(rules.min_holdout_return)} is wanted.",
        ),
    ]


def _times(count: float) -> str:
    return "once" if count == 1 else "never" if count == 0 else f"{count:.0f} times"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "unknown"


def _percent(value: float) -> str:
    return f"{100 * value:+.2f} %" if math.isfinite(value) else "unknown"
