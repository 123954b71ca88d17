"""The vote: thresholds, quorum, opposite sides, medians, and one row against many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from council import Council, Decision, Member, MemberVote, StrategyParams, TreeModel, count_votes
from tests.council.conftest import ENGINE, FEATURES, PARAMS, booster, constant, market, trained_council

NOTHING = np.full(len(ENGINE), np.nan)


def member(rank: int, long: float, short: float, thresholds: tuple[float, float] = (0.5, 0.5)) -> Member:
    models = {"long": constant(long), "short": constant(short)}
    return Member(rank, replace(PARAMS, hold_bars=rank), *thresholds, models)


def panel(*probabilities: tuple[float, float], quorum: float = 0.5) -> Council:
    members = tuple(member(rank, *pair) for rank, pair in enumerate(probabilities, start=1))
    return Council(members, quorum, ENGINE, FEATURES)


LONG, SHORT, NONE = (0.8, 0.1), (0.1, 0.9), (0.2, 0.2)


@pytest.mark.parametrize(
    ("votes", "quorum", "side", "reason"),
    [
        ((LONG,), 1.0, 1, "long: 1 long, 0 short of 1, 1 needed"),
        ((SHORT, SHORT, NONE), 0.5, -1, "short: 0 long, 2 short of 3, 2 needed"),
        ((LONG, NONE, NONE), 0.5, 0, "no quorum: 1 long, 0 short of 3, 2 needed"),
        ((LONG, NONE, NONE), 0.34, 0, "no quorum: 1 long, 0 short of 3, 2 needed"),
        ((LONG, NONE, NONE), 0.33, 1, "long: 1 long, 0 short of 3, 1 needed"),
        ((LONG, SHORT, NONE), 0.3, 0, "opposite votes: 1 long, 1 short of 3, 1 needed"),
        ((LONG, LONG, SHORT, SHORT), 0.5, 0, "opposite votes: 2 long, 2 short of 4, 2 needed"),
        ((LONG, LONG, SHORT), 0.3, 1, "long: 2 long, 1 short of 3, 1 needed"),
        ((SHORT, LONG, SHORT, SHORT), 0.25, -1, "short: 1 long, 3 short of 4, 1 needed"),
        ((NONE, NONE), 0.01, 0, "no quorum: 0 long, 0 short of 2, 1 needed"),
    ],
)
def test_quorum(votes: tuple[tuple[float, float], ...], quorum: float, side: int, reason: str) -> None:
    decision = panel(*votes, quorum=quorum).vote(NOTHING)
    assert (decision.side, decision.reason) == (side, reason)
    assert (decision.params is None) == (side == 0)


def test_quorum_is_counted_without_rounding_errors() -> None:
    assert [panel(*[NONE] * 20, quorum=q).needed for q in (0.55, 0.6, 0.61, 1.0, 1e-9)] == [11, 12, 13, 20, 1]


@pytest.mark.parametrize(
    ("long", "short", "thresholds", "vote"),
    [
        (0.5, 0.2, (0.5, 0.5), 1),  # at the threshold is enough
        (0.7, 0.8, (0.5, 0.7), 1),  # both are over: the larger margin, not the larger probability
        (0.7, 0.9, (0.5, 0.6), -1),
        (0.75, 0.75, (0.5, 0.5), 0),  # a tie
        (0.9, 0.3, (1.5, 0.5), 0),  # never long
        (0.49, 0.49, (0.5, 0.5), 0),
    ],
)
def test_member_vote(long: float, short: float, thresholds: tuple[float, float], vote: int) -> None:
    council = Council((member(1, long, short, thresholds),), 1.0, ENGINE, FEATURES)
    decision = council.vote(NOTHING)
    assert decision.side == decision.votes[0].side == vote


def test_decision_tells_everything() -> None:
    council = Council((member(3, 0.75, 0.25), member(1, 0.5, 0.25), member(2, 0.25, 0.25)), 0.5, ENGINE, FEATURES)
    decision = council.vote(NOTHING)
    assert decision.votes == (MemberVote(1, 1, 0.5, 0.25), MemberVote(2, 0, 0.25, 0.25), MemberVote(3, 1, 0.75, 0.25))
    assert decision.confidence == 0.625
    assert decision.params == replace(PARAMS, hold_bars=2)
    assert decision.to_json() == {
        "side": 1,
        "confidence": 0.625,
        "votes": [
            {"rank": 1, "side": 1, "long": 0.5, "short": 0.25},
            {"rank": 2, "side": 0, "long": 0.25, "short": 0.25},
            {"rank": 3, "side": 1, "long": 0.75, "short": 0.25},
        ],
        "params": decision.params.to_json() if decision.params else None,
        "reason": "long: 2 long, 0 short of 3, 2 needed",
    }
    assert panel(NONE).vote(NOTHING).to_json()["params"] is None


def test_parameters_are_the_median_of_those_who_approve() -> None:
    council = panel(LONG, SHORT, LONG, LONG, LONG)
    assert council.vote(NOTHING).params == replace(PARAMS, hold_bars=4)  # of 1, 3, 4, 5: 3.5, rounded up


@pytest.mark.parametrize("quorum", [0.2, 0.5, 0.7])
def test_many_rows_vote_as_each_alone(quorum: float) -> None:
    council = replace(trained_council(5), quorum=quorum)
    values, _ = market(9, rows=300, features=len(ENGINE))
    many = council.vote_many(values)
    assert len(many) == 300
    assert {-1, 0, 1} >= set(many.side.tolist())
    assert np.count_nonzero(many.side) > 10
    for row in range(300):
        alone = council.vote(values[row])
        assert alone == many[row]
        assert alone.params == many.params(row)
    parts = [council.vote_many(values[start : start + 7]) for start in range(0, 300, 7)]
    assert np.array_equal(np.concatenate([part.probability for part in parts]), many.probability)
    assert np.array_equal(np.concatenate([part.side for part in parts]), many.side)
    assert np.array_equal(np.concatenate([part.confidence for part in parts]), many.confidence)


def test_probabilities_are_those_of_lightgbm() -> None:
    council = trained_council()
    values, _ = market(10, features=len(ENGINE))
    columns = [ENGINE.index(name) for name in FEATURES]
    probability = council.vote_many(values).probability
    for index in range(3):
        for side, seed in enumerate((index + 1, index + 101)):
            expected = booster(seed, names=list(FEATURES)).predict(np.ascontiguousarray(values[:, columns]))
            assert np.array_equal(probability[:, index, side], expected)


@given(
    pairs=st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), min_size=1, max_size=6),
    quorum=st.floats(0.01, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_vote_against_a_plain_count(pairs: list[tuple[float, float]], quorum: float) -> None:
    council = panel(*pairs, quorum=quorum)
    decision = council.vote(NOTHING)
    votes = [
        0 if max(v.long, v.short) < 0.5 or v.long == v.short else 1 if v.long > v.short else -1 for v in decision.votes
    ]
    assert [vote.side for vote in decision.votes] == votes
    winners = [
        side for side in (1, -1) if votes.count(side) >= council.needed and votes.count(side) > votes.count(-side)
    ]
    assert len(winners) <= 1
    assert decision.side == (winners[0] if winners else 0)
    approving = [(v.long if v.side > 0 else v.short) for v in decision.votes if v.side and v.side == decision.side]
    assert decision.confidence == pytest.approx(sum(approving) / len(approving) if approving else 0.0)


def test_layout_and_type_of_the_rows_do_not_matter(council: Council) -> None:
    values, _ = market(11, features=len(ENGINE))
    plain = council.vote_many(values)
    assert np.array_equal(council.vote_many(np.asfortranarray(values)).probability, plain.probability)
    assert council.vote(np.repeat(values[0], 2)[::2]) == plain[0]
    assert council.vote(values[0].tolist()) == plain[0]
    assert len(council.vote_many(values[:0])) == 0


def test_vectors_of_another_length_are_refused(council: Council) -> None:
    with pytest.raises(ValueError, match="do not fit 5 features"):
        council.vote(np.zeros(len(FEATURES)))
    with pytest.raises(ValueError, match="one feature vector"):
        council.vote(np.zeros((1, len(ENGINE))))
    with pytest.raises(ValueError, match="do not fit 5 features"):
        council.vote_many(np.zeros(len(ENGINE)))


def test_impossible_councils_are_refused() -> None:
    one = member(1, 0.5, 0.5)
    for members, quorum, engine, features, reason in [
        ((), 0.5, ENGINE, FEATURES, "needs members"),
        ((one, one), 0.5, ENGINE, FEATURES, "rank of its own"),
        ((one,), 0.0, ENGINE, FEATURES, "quorum"),
        ((one,), float("nan"), ENGINE, FEATURES, "quorum"),
        ((one,), 0.5, ENGINE, ("imbalance_5", "nonsense", "ofi"), "nonsense"),
        ((one,), 0.5, ENGINE, ("ofi", "ofi", "rsi_14"), "only once"),
        ((one,), 0.5, (), (), "must be there"),
        ((one,), 0.5, ENGINE, (), "other features"),
    ]:
        with pytest.raises(ValueError, match=reason):
            Council(members, quorum, engine, features)


def test_models_of_another_feature_order_are_refused() -> None:
    models = dict.fromkeys(("long", "short"), TreeModel.from_booster(booster(1, names=sorted(FEATURES))))
    with pytest.raises(ValueError, match="rank 1 long was trained on other features"):
        Council((Member(1, PARAMS, 0.5, 0.5, models),), 0.5, ENGINE, FEATURES)


def test_impossible_members_are_refused() -> None:
    models = {"long": constant(0.5), "short": constant(0.5)}
    for rank, threshold in ((0, 0.5), (1, 0.0), (1, float("nan"))):
        with pytest.raises(ValueError, match="impossible member"):
            Member(rank, PARAMS, threshold, 0.5, models)
    with pytest.raises(ValueError, match="TreeModel"):
        Member(1, PARAMS, 0.5, 0.5, {"long": models["long"]})
    with pytest.raises(ValueError, match="TreeModel"):
        Member(1, PARAMS, 0.5, 0.5, {"long": models["long"], "short": booster(1)})  # type: ignore[dict-item]


def test_no_trade_is_a_decision_like_any_other() -> None:
    nothing = panel(NONE).vote(NOTHING)
    assert nothing == Decision(0, 0.0, nothing.votes, None, "no quorum: 0 long, 0 short of 1, 1 needed")
    assert isinstance(PARAMS, StrategyParams)


def test_probabilities_that_are_known_already_are_counted_alike(council: Council) -> None:
    values, _ = market(12, features=len(ENGINE))
    many = council.vote_many(values)
    thresholds = np.array([(member.threshold_long, member.threshold_short) for member in council.members])
    side, confidence, member_side = count_votes(many.probability, thresholds, council.needed)
    assert np.array_equal(side, many.side)
    assert np.array_equal(confidence, many.confidence)
    assert np.array_equal(member_side, many.member_side)
    unknown = np.array([[[np.nan, np.nan]], [[np.nan, 0.9]], [[0.9, np.nan]]])
    assert count_votes(unknown, np.array([[0.5, 0.5]]), 1)[0].tolist() == [0, -1, 1]
