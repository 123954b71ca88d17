"""Positions of the one unified account: what is held, what it is worth and what margin it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

from market.instruments import Instrument
from simulation.accounts import Account
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money
from simulation.exchange.rules import MOST_TICKS, risk_rows


class Tier(NamedTuple):
    """One risk tier of a contract.

    Attributes
    ----------
    number, limit, leverage
        Its id, the largest value of a position in it in USDT, and the largest leverage.
    rate, deduction
        Maintenance margin: a fraction of the value, less an amount of USDT that makes tiers meet.
    """

    number: int
    limit: Decimal
    leverage: Decimal
    rate: Decimal
    deduction: Decimal


def tiers_of(rules: Instrument) -> tuple[Tier, ...]:
    """The tiers of a contract, lowest first, as ``GET /v5/market/risk-limit`` tells them."""
    return tuple(
        Tier(
            row["id"],
            Decimal(row["riskLimitValue"]),
            Decimal(row["maxLeverage"]),
            Decimal(row["maintenanceMargin"]),
            Decimal(row["mmDeduction"] or 0),
        )
        for row in risk_rows(rules)
    )


@dataclass(slots=True)
class Position:
    """What is held in one contract: all of it, or in hedge mode one side of it.

    Attributes
    ----------
    tiers
        Of the contract, lowest first.
    idx
        Bybit's ``positionIdx``: 0 one-way, 1 the long and 2 the short of hedge mode.
    account
        Counts size, entry price and money.
    taker
        Fee that closing will cost, a fraction of the value.
    take_profit, stop_loss, profit_by, loss_by
        Stops of the whole position: triggers in ticks, 0 for none, and the prices that trigger them.
    trailing
        Distance of the trailing stop, ticks; 0 for none.
    extra
        Margin that was added in isolated mode, USDT.
    open_fees
        Fees paid for what is open, USDT.
    """

    listing: Listing
    account: Account
    tiers: tuple[Tier, ...]
    idx: int = 0
    taker: Decimal = Decimal(0)
    leverage: Decimal = Decimal(10)
    take_profit: int = 0
    stop_loss: int = 0
    profit_by: str = "LastPrice"
    loss_by: str = "LastPrice"
    trailing: int = 0
    extra: Decimal = Decimal(0)
    auto_add: bool = False
    status: str = "Normal"
    created_ms: int = 0
    opened_ms: int = 0
    updated_ms: int = 0
    opened_pnl: Decimal = Decimal(0)
    open_fees: Decimal = Decimal(0)
    seq: int = -1

    @property
    def steps(self) -> int:
        """Signed steps."""
        return self.account.position

    @property
    def sign(self) -> int:
        """+1 long, -1 short, 0 flat."""
        return (self.steps > 0) - (self.steps < 0)

    @property
    def quantity(self) -> Decimal:
        """Signed coins."""
        return self.listing.instrument.quantity(self.steps)

    @property
    def pnl(self) -> Decimal:
        """All that was ever realised in this contract, fees and funding included, USDT."""
        return self.account.cash

    @property
    def entry_value(self) -> Decimal:
        """Value at the average entry price, USDT."""
        average = self.account.average_price
        return Decimal(0) if average is None else average * abs(self.quantity)

    def value(self, ticks: int) -> Decimal:
        """Value at a price, USDT."""
        return self.listing.numbers.usdt(abs(self.steps) * ticks)

    def open_pnl(self) -> Decimal:
        """Unrealised profit at mark price, USDT."""
        return self.account.open_pnl(self.listing.mark_ticks)

    # -- margin -------------------------------------------------------------------------------------------------------

    @property
    def close_fee_rate(self) -> Decimal:
        """Taker fee at the bankruptcy price, a fraction of the value now."""
        return self.taker * (1 - self.sign / self.leverage)

    @property
    def initial_rate(self) -> Decimal:
        """Initial margin and the fee to close, a fraction of the value."""
        return 1 / self.leverage + self.close_fee_rate

    @property
    def tier(self) -> Tier:
        """The risk tier of the position's value at mark price."""
        return self.tier_of(self.value(self.listing.mark_ticks))

    def tier_of(self, value: Decimal) -> Tier:
        """The risk tier of a value in USDT; the highest one for what is beyond it."""
        return next((tier for tier in self.tiers if value <= tier.limit), self.tiers[-1])

    @property
    def maintenance_rate(self) -> Decimal:
        """Maintenance margin and the fee to close, a fraction of the value; less the tier's deduction."""
        return self.tier.rate + self.close_fee_rate

    def initial_margin(self, *, isolated: bool = False) -> Decimal:
        """Margin that the position holds, USDT: at mark price, or what was set aside at entry in isolated mode."""
        if isolated:
            return self.entry_value * self.initial_rate + self.extra
        return self.value(self.listing.mark_ticks) * self.initial_rate

    def maintenance_margin(self) -> Decimal:
        """Margin below which it is liquidated, USDT, at mark price."""
        return self.value(self.listing.mark_ticks) * self.maintenance_rate - self.tier.deduction

    def bankruptcy_ticks(self) -> int:
        """Price at which the margin set aside for the position is used up, ticks, rounded towards the entry price."""
        average = self.account.average_price
        assert average is not None, "a flat position has no bankruptcy price"
        price = average * (1 - self.sign / self.leverage) - self.sign * self.extra / abs(self.quantity)
        rounding = ROUND_CEILING if self.sign > 0 else ROUND_FLOOR
        return max(int((price / self.listing.instrument.tick_size).to_integral_value(rounding)), 1)

    def isolated_liquidation(self) -> Decimal:
        """Mark price at which the set-aside margin and the loss make the maintenance margin, USDT."""
        average, sign = self.account.average_price, self.sign
        assert average is not None, "a flat position is not liquidated"
        own = self.extra + self.tier.deduction
        price = average * (1 - sign * self.initial_rate) - sign * own / abs(self.quantity)
        return price / (1 - sign * self.maintenance_rate)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def row(self, liquidation: Decimal | None, *, isolated: bool) -> dict[str, Any]:
        """The fields that REST and stream share; the average price has another name in each.

        Parameters
        ----------
        liquidation
            Mark price of liquidation, USDT; ``None`` where there is none.
        isolated
            Whether the account is in isolated margin mode.
        """
        numbers, held = self.listing.numbers, self.steps != 0
        price, tier = numbers.price, self.tier
        initial, maintenance = money(self.initial_margin(isolated=isolated)), money(self.maintenance_margin())
        return {
            "positionIdx": self.idx,
            "riskId": tier.number,
            "riskLimitValue": money(tier.limit),
            "symbol": self.listing.symbol,
            "side": ("Buy" if self.steps > 0 else "Sell") if held else "",
            "size": numbers.size(abs(self.steps)),
            "positionValue": money(self.entry_value) if held else "",
            "tradeMode": 0,
            "positionStatus": self.status,
            "autoAddMargin": int(self.auto_add),
            "adlRankIndicator": self._rank() if held else 0,
            "leverage": money(self.leverage),
            "breakEvenPrice": self._break_even(),
            "positionBalance": initial if held else "0",
            "markPrice": price(self.listing.mark_ticks),
            "liqPrice": self._ticked(liquidation),
            "bustPrice": "",
            "positionIM": initial,
            "positionIMByMp": initial,
            "positionMM": maintenance,
            "positionMMByMp": maintenance,
            "tpslMode": "Full",
            "takeProfit": price(self.take_profit) if self.take_profit else "",
            "stopLoss": price(self.stop_loss) if self.stop_loss else "",
            "trailingStop": price(self.trailing) if self.trailing else "0",
            "unrealisedPnl": money(self.open_pnl()) if held else "",
            "curRealisedPnl": money(self.pnl - self.opened_pnl) if held else "0",
            "cumRealisedPnl": money(self.pnl),
            "sessionAvgPrice": "",
            "seq": self.seq,
            "isReduceOnly": False,
            "mmrSysUpdatedTime": "",
            "leverageSysUpdatedTime": "",
            "createdTime": str(self.created_ms or ""),
            "updatedTime": str(self.updated_ms or ""),
            "openTime": self.opened_ms if held else 0,
        }

    def rest_row(self, liquidation: Decimal | None, *, isolated: bool) -> dict[str, Any]:
        """An element of ``GET /v5/position/list``; the greeks are options' and empty here."""
        average = self.account.average_price
        greeks = {"delta": "", "gamma": "", "vega": "", "theta": ""}
        return self.row(liquidation, isolated=isolated) | {"avgPrice": money(average) if average else "0"} | greeks

    def stream_row(self, liquidation: Decimal | None, *, isolated: bool) -> dict[str, Any]:
        """An element of the private topic ``position``."""
        average = self.account.average_price
        entry = {"entryPrice": money(average) if average else "0", "category": "linear"}
        return self.row(liquidation, isolated=isolated) | entry

    def _rank(self) -> int:
        """Place in the queue of automatic deleveraging, 1 to 5 lights: the more profit on the margin, the sooner."""
        margin = self.entry_value / self.leverage
        return min(5, max(1, 2 + int(2 * self.open_pnl() / margin))) if margin else 1

    def _ticked(self, price: Decimal | None) -> str:
        if price is None or price <= 0:
            return ""
        rounding = ROUND_CEILING if self.sign > 0 else ROUND_FLOOR
        ticks = int((price / self.listing.instrument.tick_size).to_integral_value(rounding))
        return self.listing.numbers.price(ticks) if 0 < ticks < MOST_TICKS else ""

    def _break_even(self) -> str:
        """Price at which closing by a taker order gives nothing, as Bybit documents it."""
        average = self.account.average_price
        if average is None:
            return ""
        quantity, realised = self.quantity, self.pnl - self.opened_pnl
        return money((average * quantity - realised) / (quantity - abs(quantity) * max(self.taker, Decimal("0.00055"))))


@dataclass(slots=True)
class Holding:
    """All positions in one contract, and in which mode they are held.

    Attributes
    ----------
    places
        Positions by ``positionIdx``.
    hedged
        Whether longs and shorts are held apart.
    """

    places: tuple[Position, Position, Position]
    hedged: bool = field(default=False)

    @property
    def active(self) -> tuple[Position, ...]:
        """The positions of the present mode."""
        return self.places[1:] if self.hedged else self.places[:1]

    @property
    def steps(self) -> int:
        """Signed steps, over both sides."""
        return sum(position.steps for position in self.places)

    @property
    def gross(self) -> int:
        """Steps held, over both sides."""
        return sum(abs(position.steps) for position in self.places)

    def at(self, idx: int) -> Position:
        """A position by its ``positionIdx``."""
        return self.places[idx]


def new_holding(listing: Listing, taker: Decimal) -> Holding:
    """Nothing held, in one-way mode."""
    rules, tiers = listing.instrument, tiers_of(listing.instrument)
    long, short, both = (Position(listing, Account(Decimal(0), rules), tiers, idx, taker) for idx in (1, 2, 0))
    return Holding((both, long, short))
