"""Features that know the future are found; a random walk holds nothing to find."""

from __future__ import annotations

import numpy as np
import pytest

from settings import Gate
from tests.training.test_gate import Evidence
from training.folds import Rows
from training.leaks import foresight, hindsight, suspects
from training.outcomes import Outcomes

BARS = 2_000
LIMIT = Gate().max_foresight


def _walk(seed: int) -> tuple[np.ndarray, Outcomes]:
    """Closes of a random walk, and plans that earn what it does over the next three bars."""
    close = (100_000 + np.cumsum(np.random.default_rng(seed).normal(0, 20, BARS))).astype(np.int64)
    ahead = np.zeros(BARS)
    ahead[:-3] = close[3:] / close[:-3] - 1.0
    at = np.arange(BARS, dtype=np.int64)
    known = np.repeat((at < BARS - 3)[:, None], 2, axis=1)
    return close, Outcomes(known, known, np.repeat(at[:, None] + 3, 2, axis=1), np.column_stack([ahead, -ahead]) - 2e-4)


def _rows(**features: np.ndarray) -> Rows:
    return Rows(np.column_stack(list(features.values())), tuple(features), np.arange(BARS, dtype=np.int64))


@pytest.mark.parametrize("seed", range(3))
def test_a_label_from_the_future_is_caught_and_honest_features_are_not(seed: int) -> None:
    close, table = _walk(seed)
    past = np.concatenate([[0.0], np.diff(close)])
    momentum = np.convolve(past, np.ones(5), "full")[:BARS]
    rows = _rows(
        momentum=momentum,
        noise=np.random.default_rng(seed + 50).normal(size=BARS),
        label=(table.net_return[:, 0] > 0).astype(float),
        next_bar=np.concatenate([np.sign(np.diff(close)), [0.0]]),
    )
    found = foresight(rows, close, table)
    assert {one.name for one in suspects(found, LIMIT)} == {"label", "next_bar"}
    honest = {one.name: one for one in found}
    assert honest["momentum"].low < 0.1
    assert honest["noise"].low < 0.1


@pytest.mark.parametrize("seed", range(3))
def test_a_centred_filter_on_a_random_walk_is_pointed_out(seed: int) -> None:
    """The canary: it would score 70 to 85 % direction accuracy where there is nothing to know."""
    close, table = _walk(seed)
    centred = np.gradient(np.convolve(close, np.ones(5) / 5, "same"))
    trailing = np.concatenate([np.zeros(4), np.convolve(close, np.ones(5) / 5, "valid")])
    right = np.sign(centred[5:-5]) == np.sign(np.diff(close)[5:-4])
    assert 0.62 < right.mean() < 0.9
    found = {one.name: one for one in foresight(_rows(centred=centred, trailing=np.gradient(trailing)), close, table)}
    # np.gradient itself looks one bar ahead, which is a leak too; an honest slope does not.
    assert found["centred"].low > 0.3
    slope = np.concatenate([[0.0], np.diff(trailing)])
    honest = foresight(_rows(slope=slope), close, table)
    assert honest[0].low < 0.1
    assert not suspects(honest, LIMIT, Gate().max_hindsight)
    assert {one.name for one in suspects(list(found.values()), LIMIT, Gate().max_hindsight)} == {"centred", "trailing"}


@pytest.mark.parametrize("width", [3, 5, 11, 21])
def test_the_gate_refuses_filters_that_look_ahead_of_any_width(width: int) -> None:
    close, table = _walk(width)
    price = np.log(close.astype(float))
    smooth = np.convolve(price, np.ones(width) / width, "same")
    moves = np.abs(np.diff(price, prepend=price[0]))
    scale = np.convolve(moves, np.ones(14) / 14)[:BARS] + 1e-9
    late = np.concatenate([np.zeros(width - 1), np.convolve(price, np.ones(width) / width, "valid")])
    rows = _rows(smooth=smooth - price, scaled=(smooth - price) / scale, late=(price - late) / scale, range=scale)
    found = foresight(rows, close, table)
    assert {one.name for one in suspects(found, LIMIT, Gate().max_hindsight)} == {"smooth", "scaled"}
    verdict = Evidence(foresight=tuple(found)).verdict()
    assert not verdict.passed
    assert "the next bars explain" in next(one.text for one in verdict.reasons if one.name == "leaks")


def test_a_bounce_between_bid_and_ask_is_no_leak() -> None:
    """It comes back: what is known of it now, the next returns tell as well. On a price that never moves, half."""
    generator = np.random.default_rng(2)
    bounce = generator.choice([-1, 1], BARS)
    close = 100_000 + 5 * bounce
    share = hindsight(bounce[:, None].astype(float), close.astype(np.int64), np.arange(BARS, dtype=np.int64))
    assert 0.2 < share[0] < Gate().max_hindsight - 0.05


def test_no_return_is_bridged_over_a_missing_bar() -> None:
    close, _ = _walk(9)
    ahead = np.concatenate([np.diff(np.log(close)), [0.0]])[:, None]
    at = np.arange(BARS, dtype=np.int64)
    assert hindsight(ahead, close, at)[0] > 0.99
    holes = np.arange(BARS) % 15 != 0  # never ten bars before and after
    assert np.isnan(hindsight(ahead[holes], close[holes], at[holes])).all()


def test_too_few_pairs_and_constants_accuse_nobody() -> None:
    close, table = _walk(1)
    mostly_unknown = np.full(BARS, np.nan)
    mostly_unknown[:40] = np.diff(close)[:40]
    found = foresight(_rows(constant=np.ones(BARS), unknown=mostly_unknown), close, table)
    assert not suspects(found, 0.01)
    assert all(np.isnan(one.ic) for one in found)
