"""The search space: everything that a trial may tune, declared here and nowhere else.

Strategy and LightGBM parameters are drawn together, because they depend on each other: a wide target is hit by fewer
plans, and fewer labels bear smaller trees. Each entry can be replaced in the config file::

    [training.space]
    stop_atr = [1.5, 2.0, 3.0]                              # one of these
    learning_rate = { low = 0.01, high = 0.1, log = true }  # from a range
    rounds = 40                                             # not tuned
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from council.plan import StrategyParams
from market.errors import ConfigError
from training.models import BoosterParams

#: A value that a parameter can take.
Value = float | int | str | bool


@dataclass(frozen=True, slots=True)
class Dimension:
    """One tuned parameter.

    Attributes
    ----------
    name
        A field of :class:`~council.plan.StrategyParams` or :class:`~training.models.BoosterParams`.
    choices
        The values that it can take; empty for a range.
    low, high
        Ends of the range, both included; whole numbers make it a range of whole numbers.
    step
        Distance between values of the range; 0 for any value.
    log
        Draw the logarithm evenly.
    why
        What it is and why the range is what it is, for the documentation.
    """

    name: str
    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0
    log: bool = False
    why: str = ""

    def draw(self, trial: optuna.Trial) -> Value:
        """The value of a trial."""
        if self.choices:
            value: Value = trial.suggest_categorical(self.name, list(self.choices))
        elif isinstance(self.low, int) and isinstance(self.high, int):
            value = trial.suggest_int(self.name, self.low, self.high, step=int(self.step) or 1, log=self.log)
        else:
            value = trial.suggest_float(self.name, self.low, self.high, step=self.step or None, log=self.log)
        return value

    def text(self) -> str:
        """The values, for people."""
        if self.choices:
            return ", ".join(f"{one}" for one in self.choices)
        step = f", step {self.step:g}" if self.step else ""
        return f"{self.low:g} to {self.high:g}{step}{', logarithmic' if self.log else ''}"


#: Strategy parameters, on coarse grids: trials that share them share an outcome table.
STRATEGY = (
    Dimension("offset_atr", (0.05, 0.1, 0.2, 0.35), why="how far from the close a passive entry waits, in ATR"),
    Dimension("stop_atr", (1.5, 2.0, 3.0, 4.0), why="stop; nearer ones are hit by noise and pay the taker fee"),
    Dimension("target_atr", (2.0, 3.0, 4.0, 6.0), why="target; must be worth several times the fees"),
    Dimension("tif_bars", low=1, high=3, why="bars that an entry waits; the signal is stale after a few"),
    Dimension("entry", ("passive", "directional"), why="wait at a better price, or take when the model is sure enough"),
    Dimension("target_maker", (False, True), why="rest the target in the book, or take when it is reached"),
    Dimension("hold_bars", low=4, high=16, step=4, why="bars after which a position is closed"),
)

#: LightGBM parameters: small trees and strong shrinkage, as few and noisy labels want.
BOOSTER = (
    Dimension("num_leaves", low=3, high=8, why="size of a tree"),
    Dimension("learning_rate", low=0.02, high=0.08, log=True, why="shrinkage"),
    Dimension("rounds", low=20, high=60, step=10, why="trees; fixed, never stopped early, so the refit has as many"),
    Dimension("min_child_share", low=0.05, high=0.2, log=True, why="smallest leaf, as a share of the labels"),
    Dimension("feature_fraction", low=0.1, high=0.4, step=0.1, why="features that a tree sees"),
    Dimension("bagging_fraction", low=0.5, high=0.8, step=0.1, why="labels that a tree sees"),
    Dimension("lambda_l2", low=1.0, high=30.0, log=True, why="penalty on leaf values"),
)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """The dimensions of a study.

    Attributes
    ----------
    dimensions
        All of them, strategy first.
    """

    dimensions: tuple[Dimension, ...]

    def draw(self, trial: optuna.Trial) -> dict[str, Value]:
        """All parameters of a trial."""
        return {one.name: one.draw(trial) for one in self.dimensions}

    def key(self) -> str:
        """Fingerprint: studies of the same key draw from the same space."""
        plain = [{k: v for k, v in dataclasses.asdict(one).items() if k != "why"} for one in self.dimensions]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]

    def markdown(self) -> str:
        """The space as a table, for the documentation."""
        rows = "\n".join(f"| `{one.name}` | {one.text()} | {one.why} |" for one in self.dimensions)
        return f"| parameter | values | what it is |\n|---|---|---|\n{rows}\n"


def search_space(overrides: Mapping[str, Any] | None = None) -> SearchSpace:
    """The declared space with some dimensions replaced.

    Parameters
    ----------
    overrides
        ``[training.space]`` of the config: a list of choices, a table with ``low``, ``high`` and perhaps ``step`` and
        ``log``, or a single value, by parameter.

    Raises
    ------
    ConfigError
        A parameter does not exist, a range is empty, or a value is impossible for it.
    """
    declared = {one.name: one for one in (*STRATEGY, *BOOSTER)}
    for name, given in (overrides or {}).items():
        if name not in declared:
            raise ConfigError(
                f"training.space.{name} is not a tuned parameter", advice=f"Choose from: {', '.join(declared)}"
            )
        declared[name] = _replaced(declared[name], given)
    space = SearchSpace(tuple(declared.values()))
    _check(space)
    return space


def strategy_of(values: Mapping[str, Value]) -> StrategyParams:
    """Strategy parameters among drawn values."""
    return StrategyParams(**{one.name: values[one.name] for one in STRATEGY})  # type: ignore[arg-type]


def booster_of(values: Mapping[str, Value]) -> BoosterParams:
    """LightGBM parameters among drawn values."""
    return BoosterParams(**{one.name: values[one.name] for one in BOOSTER})  # type: ignore[arg-type]


def _replaced(declared: Dimension, given: Any) -> Dimension:
    where = f"training.space.{declared.name}"
    if isinstance(given, Mapping):
        unknown = set(given) - {"low", "high", "step", "log"}
        if unknown or not {"low", "high"} <= set(given) or not given["low"] <= given["high"]:
            raise ConfigError(
                f"{where} is not a range: {dict(given)}", advice="Write { low = 1, high = 8 }, perhaps with step or log"
            )
        if declared.choices and not all(isinstance(one, float | int) for one in declared.choices):
            raise ConfigError(f"{where} cannot be a range", advice="Write a list of its values")
        return Dimension(declared.name, **given, why=declared.why)
    choices = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not choices or len(set(choices)) != len(choices):
        raise ConfigError(f"{where} has no values, or one twice", advice="Write a list of different values")
    return Dimension(declared.name, choices, why=declared.why)


def _check(space: SearchSpace) -> None:
    """Try the ends of every dimension, so that a study cannot fail on its hundredth trial."""
    usual = {one.name: _ends(one)[0] for one in space.dimensions}
    for one in space.dimensions:
        for value in _ends(one):
            try:
                strategy_of({**usual, one.name: value})
                booster_of({**usual, one.name: value}).check()
            except (TypeError, ValueError) as error:
                raise ConfigError(
                    f"training.space.{one.name} allows {value!r}, which is impossible: {error}",
                    advice=f"Correct it; as declared it is {one.text()} or narrower",
                ) from error


def _ends(dimension: Dimension) -> tuple[Value, ...]:
    return dimension.choices or (dimension.low, dimension.high)
