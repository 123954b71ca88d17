"""Decimal strings to whole ticks and steps: exact, and fast enough for every level of every frame."""

from __future__ import annotations

from decimal import Decimal

from market.errors import FrameError, RulesChanged

#: Distinct strings remembered per unit; beyond it the memory starts afresh.
_REMEMBERED = 1 << 18
#: So that a tick count times a step count is the only product that needs care.
_LARGEST = 1 << 53


class UnitTable(dict[str, int]):
    """``table["65114.30"]`` is the number of units in that decimal string.

    A dictionary that fills itself: prices and sizes repeat, so nearly every lookup costs one hash. A miss is converted
    on the digits themselves, without floats and without :class:`~decimal.Decimal`.

    Parameters
    ----------
    unit
        Tick size or quantity step.
    what
        Named in the error, for example ``"BTCUSDT price"``.
    positive
        Whether 0 is refused.
    """

    __slots__ = ("decimals", "divisor", "positive", "unit", "what")

    def __init__(self, unit: Decimal, what: str, *, positive: bool = False) -> None:
        super().__init__()
        self.unit = unit
        self.what = what
        self.positive = positive
        self.decimals, self.divisor = scaled(unit)

    def __missing__(self, text: str) -> int:
        """Convert `text`.

        Raises
        ------
        FrameError
            `text` is not a plain decimal in range.
        RulesChanged
            It is not a multiple of the unit.
        """
        whole, _, fraction = text.partition(".")
        digits = whole + fraction
        if not (digits.isascii() and digits.isdigit() and whole):
            raise self._unreadable(text)
        places = self.decimals
        if len(fraction) > places and fraction[places:].strip("0"):
            raise self._off(text)
        count, rest = divmod(int(whole + fraction[:places].ljust(places, "0")), self.divisor)
        if rest:
            raise self._off(text)
        if count > _LARGEST or (self.positive and not count):
            raise self._unreadable(text)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[text] = count
        return count

    def _unreadable(self, text: str) -> FrameError:
        return FrameError(f"{self.what} {text!r} is not a decimal in range", advice="Report it if it comes back")

    def _off(self, text: str) -> RulesChanged:
        return RulesChanged(
            f"{self.what} {text} is not a multiple of {self.unit}",
            advice="The tick size or quantity step has changed: refresh the instrument rules and start again",
        )


def scaled(unit: Decimal) -> tuple[int, int]:
    """`unit` as ``(decimals, n)`` with ``unit == n / 10**decimals``, `n` whole and positive."""
    exponent = unit.normalize().as_tuple().exponent
    decimals = max(0, -int(exponent))
    return decimals, int(unit.scaleb(decimals))
