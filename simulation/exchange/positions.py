"""Positions and money of the one unified account: one-way mode, cross margin."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from simulation.accounts import Account
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money

#: Maintenance margin, a fraction of the position's value at mark price (Bybit's lowest risk tier).
MAINTENANCE = Decimal("0.005")


@dataclass(slots=True)
class Position:
    """What is held in one contract."""

    listing: Listing
    account: Account
    leverage: Decimal = Decimal(10)
    take_profit: int = 0
    stop_loss: int = 0
    created_ms: int = 0
    opened_ms: int = 0
    updated_ms: int = 0
    opened_pnl: Decimal = Decimal(0)
    seq: int = -1

    @property
    def steps(self) -> int:
        """Signed steps."""
        return self.account.position

    @property
    def pnl(self) -> Decimal:
        """All that was ever realised in this contract, fees and funding included, USDT."""
        return self.account.cash

    def value(self, ticks: int) -> Decimal:
        """Value at a price, USDT."""
        return self.listing.numbers.usdt(abs(self.steps) * ticks)

    def open_pnl(self) -> Decimal:
        """Unrealised profit at mark price, USDT."""
        return self.account.open_pnl(self.listing.mark_ticks)

    def initial_margin(self) -> Decimal:
        """Margin that the position holds, at mark price."""
        return self.value(self.listing.mark_ticks) / self.leverage

    def maintenance_margin(self) -> Decimal:
        """Margin below which the account is liquidated."""
        return self.value(self.listing.mark_ticks) * MAINTENANCE

    def row(self, wallet: Decimal) -> dict[str, Any]:
        """The fields that REST and stream share; the average price has another name in each."""
        numbers = self.listing.numbers
        average = self.account.average_price
        price = numbers.price
        held = self.steps != 0
        initial, maintenance = money(self.initial_margin()), money(self.maintenance_margin())
        return {
            "positionIdx": 0,
            "riskId": 1,
            "riskLimitValue": "2000000",
            "symbol": self.listing.symbol,
            "side": ("Buy" if self.steps > 0 else "Sell") if held else "",
            "size": numbers.size(abs(self.steps)),
            "positionValue": money(average * numbers.instrument.quantity(abs(self.steps))) if average else "",
            "tradeMode": 0,
            "positionStatus": "Normal",
            "autoAddMargin": 0,
            "adlRankIndicator": 0,
            "leverage": money(self.leverage),
            "breakEvenPrice": self._break_even(),
            "positionBalance": "0",
            "markPrice": price(self.listing.mark_ticks),
            "liqPrice": self._liquidation(wallet),
            "bustPrice": "",
            "positionIM": initial,
            "positionIMByMp": initial,
            "positionMM": maintenance,
            "positionMMByMp": maintenance,
            "tpslMode": "Full",
            "takeProfit": price(self.take_profit) if self.take_profit else "",
            "stopLoss": price(self.stop_loss) if self.stop_loss else "",
            "trailingStop": "0",
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
        }

    def rest_row(self, wallet: Decimal) -> dict[str, Any]:
        """An element of ``GET /v5/position/list``."""
        average = self.account.average_price
        return self.row(wallet) | {"avgPrice": money(average) if average else "0", "openTime": self.opened_ms}

    def stream_row(self, wallet: Decimal) -> dict[str, Any]:
        """An element of the private topic ``position``."""
        average = self.account.average_price
        return self.row(wallet) | {"entryPrice": money(average) if average else "0", "category": "linear"}

    def _break_even(self) -> str:
        """Price at which closing by a taker order gives nothing, as Bybit documents it."""
        average = self.account.average_price
        if average is None:
            return ""
        quantity = self.listing.instrument.quantity(self.steps)
        realised = self.pnl - self.opened_pnl
        return money((average * quantity - realised) / (quantity - abs(quantity) * Decimal("0.00055")))

    def _liquidation(self, wallet: Decimal) -> str:
        """Mark price at which this position alone would use up the wallet."""
        average = self.account.average_price
        if average is None:
            return ""
        quantity = self.listing.instrument.quantity(self.steps)
        price = (average * quantity - wallet) / (quantity - abs(quantity) * MAINTENANCE)
        return money(price) if price > 0 else ""


class Wallet:
    """The account's USDT, over all positions."""

    def __init__(self, equity: Decimal, positions: dict[str, Position]) -> None:
        self.start = equity
        self._positions = positions

    @property
    def balance(self) -> Decimal:
        """Wallet balance, USDT."""
        return self.start + sum((position.pnl for position in self._positions.values()), Decimal(0))

    @property
    def open_pnl(self) -> Decimal:
        """Unrealised profit, USDT."""
        return sum((p.open_pnl() for p in self._positions.values() if p.steps), Decimal(0))

    @property
    def equity(self) -> Decimal:
        """Balance and unrealised profit, USDT."""
        return self.balance + self.open_pnl

    @property
    def initial_margin(self) -> Decimal:
        """Margin held by positions, USDT."""
        return sum((p.initial_margin() for p in self._positions.values()), Decimal(0))

    @property
    def maintenance_margin(self) -> Decimal:
        """Margin below which the account is liquidated, USDT."""
        return sum((p.maintenance_margin() for p in self._positions.values()), Decimal(0))

    def row(self, order_margin: Decimal) -> dict[str, Any]:
        """The account as ``GET /v5/account/wallet-balance`` and the topic ``wallet`` show it."""
        balance, equity, open_pnl = self.balance, self.equity, self.open_pnl
        initial, maintenance = self.initial_margin + order_margin, self.maintenance_margin
        available = max(equity - initial, Decimal(0))
        realised = balance - self.start
        return {
            "accountType": "UNIFIED",
            "accountLTV": "0",
            "accountIMRate": _rate(initial, equity),
            "accountIMRateByMp": _rate(initial, equity),
            "accountMMRate": _rate(maintenance, equity),
            "accountMMRateByMp": _rate(maintenance, equity),
            "totalEquity": money(equity),
            "totalWalletBalance": money(balance),
            "totalMarginBalance": money(equity),
            "totalAvailableBalance": money(available),
            "totalPerpUPL": money(open_pnl),
            "totalInitialMargin": money(initial),
            "totalInitialMarginByMp": money(initial),
            "totalMaintenanceMargin": money(maintenance),
            "totalMaintenanceMarginByMp": money(maintenance),
            "coin": [
                {
                    "coin": "USDT",
                    "equity": money(equity),
                    "usdValue": money(equity),
                    "walletBalance": money(balance),
                    "availableToWithdraw": "",
                    "availableToBorrow": "",
                    "borrowAmount": "0",
                    "accruedInterest": "0",
                    "totalOrderIM": money(order_margin),
                    "totalPositionIM": money(self.initial_margin),
                    "totalPositionMM": money(maintenance),
                    "unrealisedPnl": money(open_pnl),
                    "cumRealisedPnl": money(realised),
                    "bonus": "0",
                    "collateralSwitch": True,
                    "marginCollateral": True,
                    "locked": "0",
                    "spotHedgingQty": "0",
                    "spotBorrow": "0",
                }
            ],
        }


def _rate(margin: Decimal, equity: Decimal) -> str:
    return money(margin / equity) if equity > 0 else "0"
