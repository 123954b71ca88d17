"""Decimal strings to ticks and steps."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import DataError, FrameError
from market.units import UnitTable, scaled

UNITS = ("0.1", "0.10", "0.01", "0.5", "0.25", "1", "10", "0.00001", "1E+1", "0.0001")


@given(st.sampled_from(UNITS), st.integers(0, 10**11), st.integers(0, 3))
def test_equals_exact_arithmetic(unit: str, count: int, zeros: int) -> None:
    value = format(Decimal(unit) * count, "f")
    text = value + ("0" * zeros if "." in value else "")
    assert UnitTable(Decimal(unit), "x")[text] == count


@given(st.sampled_from(UNITS), st.decimals(0, 10**6, places=6))
def test_refuses_what_is_between(unit: str, value: Decimal) -> None:
    table, text = UnitTable(Decimal(unit), "BTCUSDT price"), format(value, "f")
    if value % Decimal(unit) == 0:
        assert table[text] * Decimal(unit) == value
    else:
        with pytest.raises(DataError, match="BTCUSDT price"):
            table[text]


@pytest.mark.parametrize(
    "text", ["", ".", "-1.0", "+1", "1e3", "NaN", "Infinity", "1.0.0", " 1", "1_0", "١", ".5", "9" * 40]
)
def test_refuses_what_is_no_decimal(text: str) -> None:
    with pytest.raises(FrameError):
        UnitTable(Decimal("0.1"), "x")[text]


def test_zero_is_a_size_but_no_price() -> None:
    assert UnitTable(Decimal("0.1"), "x")["0.00"] == 0
    with pytest.raises(FrameError):
        UnitTable(Decimal("0.1"), "x", positive=True)["0.00"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market.units._REMEMBERED", 10)
    table = UnitTable(Decimal(1), "x")
    assert [table[str(n)] for n in range(100)] == list(range(100))
    assert len(table) <= 10


def test_scaled() -> None:
    assert scaled(Decimal("0.50")) == (1, 5)
    assert scaled(Decimal(10)) == (0, 10)
    assert scaled(Decimal("0.001")) == (3, 1)
