"""What features foretell: on a market with a planted signal those that carry it, on one without none beyond chance."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from features import Bars, build, feature_names
from simulation.synthetic import synthetic_events
from training.feature_pages import (
    MAIN_HORIZON,
    autocorrelation,
    forward_returns,
    information_coefficient,
    write_feature_pages,
)

MINUTE = 60_000
START_MS = 1_767_225_600_000
HOURS = 16
LEVELS = 50
NAMES = feature_names(LEVELS)


def market(signal: float) -> Bars:
    return build(synthetic_events(11, signal, START_MS, HOURS * 60 * MINUTE), MINUTE, LEVELS)


@pytest.fixture(scope="module")
def planted() -> Bars:
    return market(1.0)


def t_statistics(bars: Bars) -> dict[str, float]:
    """Of the coefficients over non-overlapping returns; features that are known in most of the bars."""
    returns = forward_returns(bars, MAIN_HORIZON)[::MAIN_HORIZON]
    found = {}
    for name, values in zip(NAMES, bars.values[::MAIN_HORIZON].T):
        coefficient, pairs = information_coefficient(values, returns)
        if math.isfinite(coefficient) and pairs > len(returns) / 2:
            found[name] = coefficient * math.sqrt((pairs - 2) / (1 - coefficient**2))
    return found


def test_the_planted_signal_is_seen(planted: Bars) -> None:
    found = t_statistics(planted)
    beyond_chance = NormalDist().inv_cdf(1 - 0.005 / len(found))
    for name in ("imbalance_all_mean", "imbalance_10_mean", "pressure_25bps_mean", "depth_log_ratio_mean"):
        assert found[name] > beyond_chance, (name, found[name])


def test_without_a_signal_nothing_is_beyond_chance() -> None:
    found = t_statistics(market(0.0))
    assert len(found) > 90
    beyond_chance = NormalDist().inv_cdf(1 - 0.005 / len(found))
    assert not {name: t for name, t in found.items() if abs(t) > beyond_chance}


def test_every_feature_has_a_page(planted: Bars, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    index = write_feature_pages(
        planted, NAMES, tmp_path / "pages", title="SYNUSDT <1m>", progress=lambda *at: seen.append(at)
    )
    text = index.read_text()
    assert "SYNUSDT &lt;1m&gt;" in text
    assert seen[-1] == (len(NAMES), len(NAMES))
    for name in NAMES:
        assert f'href="{name}.html"' in text
        page = (index.parent / f"{name}.html").read_text()
        assert ("<svg" in page) != ("unknown in every bar" in page)
        assert ">nan" not in page
        assert "http" not in page


def test_returns_do_not_cross_what_is_unknown() -> None:
    bars = market_of_closes([100, 110, 121, 133, 146, 161], valid=[True, True, True, False, True, True])
    np.testing.assert_allclose(
        forward_returns(bars, 1), [math.log(1.1), math.log(1.1), np.nan, np.nan, math.log(161 / 146), np.nan]
    )
    assert np.isfinite(forward_returns(bars, 2)).tolist() == [True, *[False] * 5]
    assert np.isnan(forward_returns(bars, 9)).all()


def market_of_closes(closes: list[int], valid: list[bool]) -> Bars:
    count = len(closes)
    close = np.array(closes, np.int64)
    open_ms = np.arange(count, dtype=np.int64) * MINUTE
    unknown, none = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    return Bars(
        open_ms, open_ms + MINUTE, close, close, close, close, none, none, unknown, unknown,
        np.ones(count), np.array(valid), np.zeros((count, 1)),
    )  # fmt: skip


def test_rank_correlation_and_autocorrelation_are_the_textbooks() -> None:
    rng = np.random.default_rng(3)
    left, right = np.round(rng.normal(size=200), 1), rng.normal(size=200)
    right[::17] = np.nan
    known = np.isfinite(right)
    ranks = [np.array([(other < x).sum() + ((other == x).sum() + 1) / 2 for x in other])
             for other in (left[known], right[known])]  # fmt: skip
    assert information_coefficient(left, right) == (pytest.approx(np.corrcoef(*ranks)[0, 1]), int(known.sum()))
    assert math.isnan(information_coefficient(left[:20], right[:20])[0])
    assert math.isnan(information_coefficient(np.zeros(200), right)[0])
    walk = np.cumsum(rng.normal(size=500))
    away = walk - walk.mean()
    wanted = (away[3:] * away[:-3]).sum() / math.sqrt((away[3:] ** 2).sum() * (away[:-3] ** 2).sum())
    assert autocorrelation(walk)[2] == pytest.approx(wanted)
