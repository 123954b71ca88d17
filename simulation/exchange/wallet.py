"""The one account's USDT over all positions, in cross or isolated margin mode."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from simulation.exchange.numbers import money
from simulation.exchange.positions import Holding, Position

CROSS, ISOLATED = "REGULAR_MARGIN", "ISOLATED_MARGIN"


class Wallet:
    """Balance, equity and margin.

    Parameters
    ----------
    equity
        USDT at the start.
    holdings
        By symbol.
    """

    def __init__(self, equity: Decimal, holdings: Mapping[str, Holding]) -> None:
        self.start = equity
        self.mode = CROSS
        self._holdings = holdings

    @property
    def isolated(self) -> bool:
        """Whether each position has its own margin."""
        return self.mode == ISOLATED

    @property
    def positions(self) -> list[Position]:
        """Every position that is not flat."""
        return [place for holding in self._holdings.values() for place in holding.places if place.steps]

    @property
    def balance(self) -> Decimal:
        """Wallet balance, USDT."""
        every = (place.pnl for holding in self._holdings.values() for place in holding.places)
        return self.start + sum(every, Decimal(0))

    @property
    def open_pnl(self) -> Decimal:
        """Unrealised profit, USDT."""
        return sum((place.open_pnl() for place in self.positions), Decimal(0))

    @property
    def equity(self) -> Decimal:
        """Balance and unrealised profit, USDT."""
        return self.balance + self.open_pnl

    @property
    def initial_margin(self) -> Decimal:
        """Margin held by positions, USDT."""
        return sum((place.initial_margin(isolated=self.isolated) for place in self.positions), Decimal(0))

    @property
    def maintenance_margin(self) -> Decimal:
        """Margin below which the account is liquidated, USDT."""
        return sum((place.maintenance_margin() for place in self.positions), Decimal(0))

    def available(self, order_margin: Decimal) -> Decimal:
        """What new orders can use, USDT; in isolated mode open profit and loss stay with their positions."""
        own = self.balance if self.isolated else self.equity
        return own - self.initial_margin - order_margin

    def liquidation_price(self, position: Position) -> Decimal | None:
        """Mark price at which a position is liquidated, USDT; an estimate in cross mode, where others count as well.

        Cross mode liquidates the account when its equity is its maintenance margin. With the other contracts where they
        are, that is linear in this contract's price; both sides of a hedge share it. ``None`` where no price does it.
        """
        if position.steps == 0:
            return None
        if self.isolated:
            price = position.isolated_liquidation()
            return price if price > 0 else None
        here = self._holdings[position.listing.symbol].places
        others = [one for one in self.positions if one.listing is not position.listing]
        free = self.balance + sum((one.open_pnl() - one.maintenance_margin() for one in others), Decimal(0))
        cost = sum((one.entry_value * one.sign for one in here), Decimal(0))
        slope = sum((one.quantity - abs(one.quantity) * one.maintenance_rate for one in here), Decimal(0))
        net = sum(one.quantity for one in here)
        # A hedge whose sides cancel loses by the fees of a rising value alone: far beyond any price that is traded.
        if slope == 0 or net * slope <= 0:
            return None
        deducted = sum((one.tier.deduction for one in here if one.steps), Decimal(0))
        price = (cost - free - deducted) / slope
        return price if price > 0 else None

    def rest_row(self, position: Position) -> dict[str, Any]:
        """A position as ``GET /v5/position/list`` shows it."""
        return position.rest_row(self.liquidation_price(position), isolated=self.isolated)

    def stream_row(self, position: Position) -> dict[str, Any]:
        """A position as the topic ``position`` shows it."""
        return position.stream_row(self.liquidation_price(position), isolated=self.isolated)

    def row(self, order_margin: Decimal) -> dict[str, Any]:
        """The account as ``GET /v5/account/wallet-balance`` and the topic ``wallet`` show it.

        Account-wide margins mean nothing in isolated mode and are empty there.
        """
        balance, equity, open_pnl = self.balance, self.equity, self.open_pnl
        initial, maintenance = self.initial_margin + order_margin, self.maintenance_margin
        shared = {
            "accountIMRate": _rate(initial, equity),
            "accountIMRateByMp": _rate(initial, equity),
            "accountMMRate": _rate(maintenance, equity),
            "accountMMRateByMp": _rate(maintenance, equity),
            "totalAvailableBalance": money(max(self.available(order_margin), Decimal(0))),
            "totalInitialMargin": money(initial),
            "totalInitialMarginByMp": money(initial),
            "totalMaintenanceMargin": money(maintenance),
            "totalMaintenanceMarginByMp": money(maintenance),
        }
        return {
            "accountType": "UNIFIED",
            "accountLTV": "0",
            "totalEquity": money(equity),
            "totalWalletBalance": money(balance),
            "totalMarginBalance": money(equity),
            "totalPerpUPL": money(open_pnl),
            **(dict.fromkeys(shared, "") if self.isolated else shared),
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
                    "cumRealisedPnl": money(balance - self.start),
                    "bonus": "0",
                    "collateralSwitch": True,
                    "marginCollateral": True,
                    "colRes": "0",
                    "locked": "0",
                    "free": "",
                    "spotHedgingQty": "0",
                    "spotBorrow": "0",
                }
            ],
        }


def _rate(margin: Decimal, equity: Decimal) -> str:
    return money(margin / equity) if equity > 0 else "0"
