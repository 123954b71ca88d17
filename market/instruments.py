"""Contract rules: what one tick and one step are worth, and what the exchange accepts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from market.errors import DataError, UnknownSymbolError


@dataclass(frozen=True, slots=True)
class Instrument:
    """Rules of one linear perpetual, as Bybit's ``GET /v5/market/instruments-info`` states them.

    Attributes
    ----------
    symbol
        For example ``BTCUSDT``.
    tick_size
        USDT a tick.
    qty_step
        Coins a quantity step.
    min_steps, max_steps, max_market_steps
        Order size limits, in quantity steps.
    min_notional
        Smallest order value, USDT.
    max_leverage
        Largest leverage, as a multiple.
    funding_interval_min
        Minutes between funding payments.
    """

    symbol: str
    tick_size: Decimal
    qty_step: Decimal
    min_steps: int
    max_steps: int
    max_market_steps: int
    min_notional: Decimal
    max_leverage: Decimal
    funding_interval_min: int = 480

    @classmethod
    def from_bybit(cls, row: Mapping[str, Any]) -> Instrument:
        """Read one element of ``result.list``.

        Raises
        ------
        DataError
            A field is missing or is not a positive number.

        References
        ----------
        https://bybit-exchange.github.io/docs/v5/market/instrument
        """
        try:
            lot, price, leverage = row["lotSizeFilter"], row["priceFilter"], row["leverageFilter"]
            tick, step = Decimal(price["tickSize"]), Decimal(lot["qtyStep"])
            if not (tick.is_finite() and step.is_finite() and tick > 0 and step > 0):
                raise ValueError(f"tickSize {tick}, qtyStep {step}")
            return cls(
                symbol=str(row["symbol"]),
                tick_size=tick,
                qty_step=step,
                min_steps=_exact(Decimal(lot["minOrderQty"]), step),
                max_steps=int(Decimal(lot["maxOrderQty"]) // step),
                max_market_steps=int(Decimal(lot.get("maxMktOrderQty", lot["maxOrderQty"])) // step),
                min_notional=Decimal(lot.get("minNotionalValue", "0")),
                max_leverage=Decimal(leverage["maxLeverage"]),
                funding_interval_min=int(row.get("fundingInterval", 480)),
            )
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise DataError(
                f"instrument rules of {row.get('symbol', '?')} cannot be read ({type(error).__name__}: {error})",
                advice="Fetch them again from GET /v5/market/instruments-info",
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The rules as plain JSON values; decimals as strings."""
        return {
            name: str(value) if isinstance(value := getattr(self, name), Decimal) else value for name in self.__slots__
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Instrument:
        """The inverse of :meth:`to_json`."""
        decimals = ("tick_size", "qty_step", "min_notional", "max_leverage")
        values: dict[str, Any] = {name: Decimal(value) if name in decimals else value for name, value in row.items()}
        return cls(**values)

    def to_ticks(self, price: str | Decimal) -> int:
        """Price to ticks, exactly.

        Raises
        ------
        DataError
            The price is not a multiple of the tick.
        """
        return _exact(Decimal(price), self.tick_size)

    def to_steps(self, quantity: str | Decimal) -> int:
        """Quantity to steps, exactly.

        Raises
        ------
        DataError
            The quantity is not a multiple of the step.
        """
        return _exact(Decimal(quantity), self.qty_step)

    def price(self, ticks: int) -> Decimal:
        """Ticks to USDT, with the tick's own number of decimals."""
        return self.tick_size * ticks

    def quantity(self, steps: int) -> Decimal:
        """Steps to coins, with the step's own number of decimals."""
        return self.qty_step * steps

    def notional(self, ticks: int, steps: int) -> Decimal:
        """Value of `steps` at `ticks`, USDT."""
        return self.price(ticks) * self.quantity(steps)


def _exact(value: Decimal, unit: Decimal) -> int:
    count = value / unit
    whole = int(count)
    if whole != count:
        raise DataError(
            f"{value} is not a multiple of {unit}",
            advice="The tick size or quantity step has changed: refresh the instrument rules",
        )
    return whole


def read_instruments(path: Path) -> dict[str, Instrument]:
    """Read a saved answer of ``GET /v5/market/instruments-info``.

    Raises
    ------
    DataError
        The file is not such an answer.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["result"]["list"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not an instruments-info answer ({type(error).__name__})",
            advice="Save the answer of GET /v5/market/instruments-info?category=linear there",
        ) from error
    return {instrument.symbol: instrument for instrument in map(Instrument.from_bybit, rows)}


def pick(instruments: Mapping[str, Instrument], symbol: str) -> Instrument:
    """The instrument of `symbol`.

    Raises
    ------
    UnknownSymbolError
        There is none; the message lists those there are.
    """
    if symbol in instruments:
        return instruments[symbol]
    known = ", ".join(sorted(instruments)) or "none"
    raise UnknownSymbolError(f"no instrument rules for {symbol} (known: {known})", advice="Check the symbol's spelling")
