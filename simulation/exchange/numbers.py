"""Numbers as Bybit writes them: strings; prices and sizes with the instrument's decimals, money in plain notation."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from market.instruments import Instrument

_MONEY = Decimal("0.00000001")


def decimals(unit: Decimal) -> int:
    """How many decimals a tick size or a quantity step has."""
    exponent = unit.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def fixed(value: Decimal, digits: int) -> str:
    """A number with so many decimals."""
    return f"{value:.{digits}f}"


def scaled(units: int, digits: int) -> str:
    """A whole number of units of the last decimal, with so many decimals; much faster than decimals."""
    if digits == 0:
        return str(units)
    sign = "-" if units < 0 else ""
    whole, rest = divmod(abs(units), 10**digits)
    return f"{sign}{whole}.{rest:0{digits}d}"


def money(value: Decimal) -> str:
    """An amount of USDT: at most eight decimals, no exponent, no trailing zeros."""
    rounded = value.quantize(_MONEY, rounding=ROUND_HALF_EVEN)
    if rounded == 0:
        return "0"
    return format(rounded.normalize(), "f")


class Numbers:
    """Formats of one instrument."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.price_digits = decimals(instrument.tick_size)
        self.size_digits = decimals(instrument.qty_step)
        #: Units of the last decimal a tick, a step.
        self.price_units = int(instrument.tick_size.scaleb(self.price_digits))
        self.size_units = int(instrument.qty_step.scaleb(self.size_digits))

    def price(self, ticks: int) -> str:
        """Ticks as a price."""
        return scaled(ticks * self.price_units, self.price_digits)

    def size(self, steps: int) -> str:
        """Steps as a quantity."""
        return scaled(steps * self.size_units, self.size_digits)

    def value(self, amount: int) -> str:
        """Ticks times steps as USDT."""
        return money(self.usdt(amount))

    def rounded(self, amount: int, digits: int) -> str:
        """Ticks times steps as USDT with so many decimals, cut."""
        units = amount * self.price_units * self.size_units
        shift = self.price_digits + self.size_digits - digits
        return scaled(units // 10**shift if shift >= 0 else units * 10**-shift, digits)

    def usdt(self, amount: int) -> Decimal:
        """Ticks times steps in USDT."""
        return self.instrument.tick_size * self.instrument.qty_step * amount


def parse(value: object) -> Decimal | None:
    """A number that a client sent, or ``None`` where it is none."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
