"""The vote: members, their thresholds, the quorum, and what the council decides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numba import njit

from council.plan import LONG, SHORT, StrategyParams
from council.trees import Forest, TreeModel

if TYPE_CHECKING:
    from council.manifest import Manifest

#: The models of a member, in the order in which probabilities are kept.
SIDES = ("long", "short")
_NAMES = {LONG: "long", SHORT: "short"}


@dataclass(frozen=True, slots=True)
class Member:
    """One tuned strategy with its two models.

    Attributes
    ----------
    rank
        Place in the ranking, from 1.
    params
        Strategy parameters.
    threshold_long, threshold_short
        Probability of a win, given a fill, from which on the member votes for the side; above 0. A threshold above 1
        means that the member never votes for that side.
    models
        ``{"long": ..., "short": ...}``.
    """

    rank: int
    params: StrategyParams
    threshold_long: float
    threshold_short: float
    models: Mapping[str, TreeModel]

    def __post_init__(self) -> None:
        thresholds = (self.threshold_long, self.threshold_short)
        if self.rank < 1 or not all(math.isfinite(value) and value > 0 for value in thresholds):
            raise ValueError(f"impossible member: rank {self.rank}, thresholds {thresholds}")
        if set(self.models) != set(SIDES) or not all(isinstance(model, TreeModel) for model in self.models.values()):
            raise ValueError(f"member {self.rank} needs a TreeModel for each of {SIDES}: see TreeModel.from_booster")


@dataclass(frozen=True, slots=True)
class MemberVote:
    """What one member said.

    Attributes
    ----------
    rank
        The member's.
    side
        +1, -1, or 0 for no vote.
    long, short
        Its probabilities of a win, given a fill.
    """

    rank: int
    side: int
    long: float
    short: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What the council said to one feature vector.

    Attributes
    ----------
    side
        +1, -1, or 0 for no trade.
    confidence
        Mean probability of the approving members; 0.0 where none approves because no side trades.
    votes
        Of every member, by rank.
    params
        Median of the approving members' parameters; ``None`` when ``side`` is 0.
    reason
        Why, for people.
    """

    side: int
    confidence: float
    votes: tuple[MemberVote, ...]
    params: StrategyParams | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "side": self.side,
            "confidence": self.confidence,
            "votes": [{"rank": v.rank, "side": v.side, "long": v.long, "short": v.short} for v in self.votes],
            "params": None if self.params is None else self.params.to_json(),
            "reason": self.reason,
        }


@dataclass(frozen=True, eq=False)
class Decisions:
    """Decisions on n feature vectors, as arrays.

    Attributes
    ----------
    council
        Who decided.
    side
        ``int8[n]``.
    confidence
        ``float64[n]``.
    member_side
        ``int8[n, members]``.
    probability
        ``float64[n, members, 2]``: long, short.
    """

    council: Council
    side: npt.NDArray[np.int8]
    confidence: npt.NDArray[np.float64]
    member_side: npt.NDArray[np.int8]
    probability: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.side.size)

    def __getitem__(self, row: int) -> Decision:
        side = int(self.side[row])
        members = self.council.members
        sides: list[int] = self.member_side[row].tolist()
        probabilities: list[list[float]] = self.probability[row].tolist()
        votes = tuple(
            MemberVote(member.rank, vote, long, short)
            for member, vote, (long, short) in zip(members, sides, probabilities)
        )
        return Decision(side, float(self.confidence[row]), votes, self.params(row), self.council.reason(side, sides))

    def params(self, row: int) -> StrategyParams | None:
        """Median parameters of the members that approve row ``row``; ``None`` where no side trades."""
        side = int(self.side[row])
        if side == 0:
            return None
        return self.council.median_params(tuple(bool(vote == side) for vote in self.member_side[row]))


@dataclass(frozen=True, eq=False)
class Council:
    """Members that decide together.

    Attributes
    ----------
    members
        By rank.
    quorum
        A side trades when at least this share of the members votes for it; (0, 1].
    engine_features
        Names of the full feature vector, in the engine's order.
    features
        Names of the features that the models read, in the models' order; empty means all of the engine's.
    manifest
        What the bundle says about the council; ``None`` before it is saved.
    """

    members: tuple[Member, ...]
    quorum: float
    engine_features: tuple[str, ...]
    features: tuple[str, ...] = ()
    manifest: Manifest | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(sorted(self.members, key=lambda member: member.rank)))
        object.__setattr__(self, "engine_features", tuple(self.engine_features))
        object.__setattr__(self, "features", tuple(self.features) or self.engine_features)
        if not self.members or len({member.rank for member in self.members}) != len(self.members):
            raise ValueError("a council needs members, each with a rank of its own")
        if not 0 < self.quorum <= 1:
            raise ValueError(f"quorum {self.quorum} is not a share in (0, 1]")
        _check_names(self.engine_features, self.features)
        for member in self.members:
            for side in SIDES:
                _check_model(member.models[side], self.features, f"rank {member.rank} {side}")

    @property
    def needed(self) -> int:
        """Votes that a side needs."""
        # Rounded first, so that 0.55 of 20 is 11 and not, by a last bit, 12.
        return max(1, math.ceil(round(self.quorum * len(self.members), 9)))

    def vote(self, values: npt.ArrayLike) -> Decision:
        """Decide on one feature vector.

        Parameters
        ----------
        values
            ``float64[F]``: the full vector of the engine, NaN where unknown.

        Raises
        ------
        ValueError
            The vector has another length than ``engine_features``.
        """
        row = np.asarray(values, dtype=np.float64)
        if row.ndim != 1:
            raise ValueError(f"one feature vector expected, an array of shape {row.shape} found")
        return self.vote_many(row[np.newaxis])[0]

    def vote_many(self, values: npt.ArrayLike) -> Decisions:
        """Decide on many feature vectors; row by row equal to :meth:`vote`, to the bit.

        Parameters
        ----------
        values
            ``float64[n, F]``.
        """
        rows = np.ascontiguousarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.engine_features):
            raise ValueError(f"values of shape {rows.shape} do not fit {len(self.engine_features)} features")
        count, members = rows.shape[0], len(self.members)
        probability = self._forest.probabilities(rows).reshape(count, members, len(SIDES))
        side, confidence, member_side = count_votes(probability, self._thresholds, self.needed)
        return Decisions(self, side, confidence, member_side, probability)

    def median_params(self, approving: Sequence[bool]) -> StrategyParams:
        """The parameters that approving members trade together."""
        key = tuple(approving)
        if key not in self._medians:
            self._medians[key] = StrategyParams.median_of(
                [member.params for member, yes in zip(self.members, key) if yes]
            )
        return self._medians[key]

    def reason(self, side: int, votes: Sequence[int]) -> str:
        """One line for the journal."""
        counts = {side: sum(vote == side for vote in votes) for side in _NAMES}
        tally = f"{counts[LONG]} long, {counts[SHORT]} short of {len(votes)}, {self.needed} needed"
        if side:
            return f"{_NAMES[side]}: {tally}"
        return f"{'opposite votes' if min(counts.values()) >= self.needed else 'no quorum'}: {tally}"

    @cached_property
    def _forest(self) -> Forest:
        where = {name: index for index, name in enumerate(self.engine_features)}
        models = [member.models[side] for member in self.members for side in SIDES]
        return Forest.of(models, [where[name] for name in self.features])

    @cached_property
    def _thresholds(self) -> npt.NDArray[np.float64]:
        return np.array([(member.threshold_long, member.threshold_short) for member in self.members])

    @cached_property
    def _medians(self) -> dict[tuple[bool, ...], StrategyParams]:
        return {}


def count_votes(
    probability: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64], needed: int
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """The vote on probabilities that are known already, as out-of-fold ones are.

    Parameters
    ----------
    probability
        ``float64[n, members, 2]``: long, short; NaN votes for nothing.
    thresholds
        ``float64[members, 2]``.
    needed
        Votes that a side needs: see :attr:`Council.needed`.

    Returns
    -------
    side, confidence, member_side
        As in :class:`Decisions`.
    """
    count, members, _ = probability.shape
    side, confidence = np.empty(count, np.int8), np.empty(count, np.float64)
    member_side = np.empty((count, members), np.int8)
    _tally(np.ascontiguousarray(probability), thresholds, needed, side, confidence, member_side)
    return side, confidence, member_side


@njit(cache=True)
def _tally(  # type: ignore[no-untyped-def]
    probability, thresholds, needed, side, confidence, member_side
):
    """Count the votes of ``probability`` (``[n, members, 2]``) into the three arrays at the end."""
    for row in range(probability.shape[0]):
        longs, shorts, long_sum, short_sum = 0, 0, 0.0, 0.0
        for member in range(probability.shape[1]):
            long, short = probability[row, member, 0], probability[row, member, 1]
            over_long, over_short = long - thresholds[member, 0], short - thresholds[member, 1]
            vote = 0
            if over_long >= 0.0 and not over_short >= over_long:
                vote = 1
                longs += 1
                long_sum += long
            elif over_short >= 0.0 and not over_long >= over_short:
                vote = -1
                shorts += 1
                short_sum += short
            member_side[row, member] = vote
        side[row], confidence[row] = 0, 0.0
        if longs >= needed and longs > shorts:
            side[row], confidence[row] = 1, long_sum / longs
        elif shorts >= needed and shorts > longs:
            side[row], confidence[row] = -1, short_sum / shorts


def _check_names(engine: tuple[str, ...], features: tuple[str, ...]) -> None:
    if len(set(engine)) != len(engine) or len(set(features)) != len(features) or not features:
        raise ValueError("feature names must be there and each only once")
    if unknown := set(features) - set(engine):
        raise ValueError(f"the engine has no feature {sorted(unknown)[0]!r}")


def _check_model(model: TreeModel, features: tuple[str, ...], whose: str) -> None:
    """A model that was trained with names must name the council's features in the council's order."""
    unnamed = tuple(f"Column_{index}" for index in range(len(features)))
    if model.feature_names not in (features, unnamed):
        raise ValueError(f"the model {whose} was trained on other features than the council's {len(features)}")
