"""Paper money: a one-way position in one instrument, to the last decimal.

Fills are kept as sums of whole ticks * steps, money as decimals, so that nothing is lost however many fills there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from market.errors import DataError
from market.instruments import Instrument
from simulation._reports import Filled

_SCHEMA = 1


class Account:
    """Cash, one position, and what they are worth.

    Parameters
    ----------
    start_equity
        USDT at the start.
    instrument
        Its tick size and quantity step turn ticks * steps into USDT.

    Attributes
    ----------
    start_equity : Decimal
        USDT at the start, transfers included.
    position : int
        Signed steps held.
    fees, funding : Decimal
        USDT paid so far (negative: received).
    """

    def __init__(self, start_equity: Decimal, instrument: Instrument) -> None:
        if not start_equity.is_finite():
            raise ValueError(f"start equity {start_equity}")
        self.start_equity = start_equity
        self.instrument = instrument
        self.position = 0
        self.fees = Decimal(0)
        self.funding = Decimal(0)
        self._flow = 0  # ticks * steps received for everything sold, less those paid for everything bought
        self._cost = Fraction(0)  # signed ticks * steps that the open position cost, at its average price

    def fill(self, side: int, price: int, size: int, fee: Decimal) -> None:
        """Take in a fill; a fill against the position closes it first, and opens the other side with what is left.

        Parameters
        ----------
        side
            +1 bought, -1 sold.
        price, size
            Ticks and steps, greater than 0.
        fee
            USDT paid.

        Raises
        ------
        ValueError
            The fill is impossible; the account is as it was.
        """
        whole = all(isinstance(value, int) for value in (side, price, size))
        if not whole or side not in (1, -1) or price <= 0 or size <= 0 or not fee.is_finite():
            raise ValueError(f"impossible fill: side {side}, price {price}, size {size}, fee {fee}")
        signed = side * size
        closing = min(size, abs(self.position)) if self.position * side < 0 else 0
        if closing:
            self._cost -= self._cost * closing / abs(self.position)
        self._cost += side * (size - closing) * price
        self._flow -= signed * price
        self.position += signed
        self.fees += fee

    def take(self, report: Filled) -> None:
        """Take in a fill that the paper broker reports."""
        self.fill(report.side, report.price, report.size, self.usdt(report.fee))

    def pay_funding(self, rate: Decimal, mark: int | Decimal) -> Decimal:
        """Pay funding on the position: longs pay a positive rate, shorts receive it.

        Parameters
        ----------
        rate
            Fraction of the position's value.
        mark
            Mark price, ticks.

        Returns
        -------
        Decimal
            USDT paid; negative if received.
        """
        if not rate.is_finite() or mark <= 0:
            raise ValueError(f"impossible funding: rate {rate}, mark {mark}")
        paid = self.usdt(Decimal(self.position * mark)) * rate
        self.funding += paid
        return paid

    def transfer(self, amount: Decimal) -> None:
        """Deposit, or withdraw with a negative amount, USDT; no profit and no loss."""
        if not amount.is_finite():
            raise ValueError(f"impossible transfer: {amount}")
        self.start_equity += amount

    def usdt(self, value: Decimal) -> Decimal:
        """A value in ticks * steps, in USDT."""
        return value * self.instrument.tick_size * self.instrument.qty_step

    @property
    def average_price(self) -> Decimal | None:
        """Average entry price of the open position, USDT; ``None`` without one."""
        if self.position == 0:
            return None
        return _decimal(self._cost / self.position) * self.instrument.tick_size

    @property
    def realised(self) -> Decimal:
        """Profit of what was closed, before fees and funding, USDT; at the average entry price, as Bybit counts it."""
        return self.usdt(_decimal(self._flow + self._cost))

    @property
    def cash(self) -> Decimal:
        """Wallet balance: the start, plus what was realised, less fees and funding, USDT."""
        return self.start_equity + self.realised - self.fees - self.funding

    def open_pnl(self, mark: int) -> Decimal:
        """Profit of the open position at a mark price in ticks, USDT."""
        return self.usdt(_decimal(self.position * mark - self._cost))

    def equity(self, mark: int) -> Decimal:
        """What the account is worth at a mark price in ticks, USDT; exact."""
        return self.start_equity + self.usdt(Decimal(self._flow + self.position * mark)) - self.fees - self.funding

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values; numbers as strings where a float would lose something."""
        return {
            "schema": _SCHEMA,
            "symbol": self.instrument.symbol,
            "start_equity": str(self.start_equity),
            "position": self.position,
            "fees": str(self.fees),
            "funding": str(self.funding),
            "flow": self._flow,
            "cost": str(self._cost),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], instrument: Instrument) -> Account:
        """The inverse of :meth:`to_json`.

        Raises
        ------
        DataError
            The values are damaged, or of another symbol.
        """
        try:
            if (values["schema"], values["symbol"]) != (_SCHEMA, instrument.symbol):
                raise ValueError(f"schema {values['schema']}, symbol {values['symbol']}")
            account = cls(Decimal(values["start_equity"]), instrument)
            account.position, account._flow = int(values["position"]), int(values["flow"])
            account.fees, account.funding = Decimal(values["fees"]), Decimal(values["funding"])
            account._cost = Fraction(values["cost"])
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise DataError(
                f"the account's state cannot be read ({type(error).__name__}: {error})",
                advice="Restore the last good copy, or start a new session",
            ) from error
        return account


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)
