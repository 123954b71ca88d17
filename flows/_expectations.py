"""Great Expectations' vocabulary, extended by what its own words do not say of a recorded market.

Imported by the task that runs the checks only: Great Expectations takes seconds to import.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import BatchExpectation
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.expectations.metrics.table_metric_provider import TableMetricProvider

#: How far apart two streams are looked for (minutes), and how much better another place must fit to be believed.
MOST_LAG = 180
BELIEVED = 0.5
#: Minutes that both streams must share for a comparison.
_LEAST_SHARED = 30


def lag_minutes(late: np.ndarray, early: np.ndarray) -> float:
    """Minutes by which `late` runs behind `early`: where their changes agree best, if that is far better than at once.

    Parameters
    ----------
    late, early : float64[n]
        A price a minute, in the same units; NaN where unknown.

    Returns
    -------
    float
        0 where they agree at once, NaN where they cannot be compared.
    """
    errors = {}
    most = min(MOST_LAG, len(late) - 1)
    for lag in range(-most, most + 1):
        a, b = (late[lag:], early[: len(early) - lag]) if lag >= 0 else (late[:lag], early[-lag:])
        known = np.isfinite(a) & np.isfinite(b)
        if known.sum() >= _LEAST_SHARED:
            errors[lag] = float(np.median(np.abs(a[known] - b[known])))
    if not errors:
        return float("nan")
    best = min(errors, key=lambda lag: (errors[lag], abs(lag)))
    if 0 in errors and errors[best] >= BELIEVED * errors[0]:
        return 0.0
    return float(best)


def grid(values: np.ndarray) -> float:
    """Greatest common divisor of whole numbers, zeros left out; NaN where there are none."""
    known = np.asarray(values)[np.asarray(values) > 0].astype(np.int64)
    return float(np.gcd.reduce(known)) if len(known) else float("nan")


def share(part: np.ndarray, whole: np.ndarray) -> float:
    """Sum of `part` over sum of `whole`; NaN where there is no whole, or it is not known."""
    total = float(np.nansum(whole))
    return float(np.nansum(part)) / total if total > 0 and np.isfinite(part).any() else float("nan")


class _TwoColumns(TableMetricProvider):  # type: ignore[misc]
    metric_name: ClassVar[str] = "table.purplesky"
    domain_keys = ("batch_id", "table", "row_condition", "condition_parser")
    value_keys = ("column", "whole", "rule")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: dict[str, Any],
        metric_value_kwargs: dict[str, Any],
        metrics: dict[str, Any],
        runtime_configuration: dict[str, Any],
    ) -> float:
        frame, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, domain_type=MetricDomainTypes.TABLE)
        column = frame[metric_value_kwargs["column"]].to_numpy(float)
        rule = metric_value_kwargs["rule"]
        if rule == "figure":
            (value,) = column
            return float(value)
        if rule == "grid":
            return grid(column)
        whole = frame[metric_value_kwargs["whole"]].to_numpy(float)
        return lag_minutes(column, whole) if rule == "clock" else share(column, whole)


class _Judged(BatchExpectation):  # type: ignore[misc]
    """One number of the whole table, between two limits; unknown (NaN) is neither."""

    column: str
    whole: str = ""
    min_value: float | None = None
    max_value: float | None = None
    rule: ClassVar[str] = ""

    metric_dependencies: ClassVar[tuple[str, ...]] = (_TwoColumns.metric_name,)
    success_keys: ClassVar[tuple[str, ...]] = ("column", "whole", "min_value", "max_value")
    domain_keys: ClassVar[tuple[str, ...]] = ("batch_id", "row_condition", "condition_parser")

    def get_validation_dependencies(self, execution_engine: Any = None, runtime_configuration: Any = None) -> Any:
        from great_expectations.validator.metric_configuration import MetricConfiguration

        dependencies = super().get_validation_dependencies(
            execution_engine=execution_engine, runtime_configuration=runtime_configuration
        )
        name = _TwoColumns.metric_name
        asked = {"column": self.column, "whole": self.whole, "rule": self.rule}
        plain = dependencies.metric_configurations[name]
        dependencies.set_metric_configuration(
            name, MetricConfiguration(name, metric_domain_kwargs=plain.metric_domain_kwargs, metric_value_kwargs=asked)
        )
        return dependencies

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        value = metrics[_TwoColumns.metric_name]
        if not np.isfinite(value):
            return {"success": True, "result": {"observed_value": None}}
        low = -np.inf if self.min_value is None else self.min_value
        high = np.inf if self.max_value is None else self.max_value
        return {"success": bool(low <= value <= high), "result": {"observed_value": float(value)}}


class ExpectShareOfTheDayToBeBetween(_Judged):
    """Of all that happened on the day (`whole`), what `column` counts is a share between the limits."""

    rule: ClassVar[str] = "share"


class ExpectDayFigureToBeBetween(_Judged):
    """The day's one figure lies between the limits."""

    rule: ClassVar[str] = "figure"


class ExpectTradesAndBookToShareOneClock(_Judged):
    """Trade prices do not run behind the book's, nor the book behind them, by minutes."""

    rule: ClassVar[str] = "clock"


class ExpectPricesToUseTheTick(_Judged):
    """Not every price is a multiple of the same number of ticks: then the tick size would be wrong."""

    rule: ClassVar[str] = "grid"


OWN = {
    "share": ExpectShareOfTheDayToBeBetween,
    "figure": ExpectDayFigureToBeBetween,
    "clock": ExpectTradesAndBookToShareOneClock,
    "grid": ExpectPricesToUseTheTick,
}
