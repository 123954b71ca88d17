"""Helpers of the trading engine's tests: requests without HTTP, and everything that the account is told."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from simulation.exchange import LocalExchange
from simulation.exchange.numbers import Numbers
from simulation.exchange.orders import Order, Refusal
from simulation.exchange.positions import Position
from simulation.exchange.rest_account import AccountRoutes
from simulation.exchange.rest_orders import OrderRoutes
from simulation.exchange.rest_positions import PositionRoutes
from simulation.exchange.routes import Reply

SYMBOL = "SYNUSDT"
TAKER, MAKER = Decimal("0.00055"), Decimal("0.0002")


class Counter:
    """An exchange that stands still, and whoever stands at its counter."""

    def __init__(self, **options: Any) -> None:
        still: dict[str, Any] = {"speed": 0.0, "limits": {}, "signal": 0.0}
        self.exchange = LocalExchange(**still | options)
        self.venue = self.exchange.venue
        self.desk = self.venue.desk
        self.listing = self.venue.listings[SYMBOL]
        self.numbers: Numbers = self.listing.numbers
        parts = (OrderRoutes(self.venue), PositionRoutes(self.venue), AccountRoutes(self.venue, self.exchange.keyring))
        self.routes = {path: route for part in parts for path, route in part.routes.items()}
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.desk.tell = lambda topic, rows: self.told.extend((topic, row) for row in rows)

    def reply(self, path: str, **params: Any) -> Reply:
        """The answer to a request about linear contracts."""
        result = self.routes[f"/v5/{path}"].handle({"category": "linear"} | params)
        return result if isinstance(result, Reply) else Reply(result, {})

    def ask(self, path: str, **params: Any) -> Any:
        """Its result."""
        return self.reply(path, **params).result

    def refused(self, path: str, **params: Any) -> int:
        """The code with which a request is refused."""
        with pytest.raises(Refusal) as caught:
            self.reply(path, **params)
        return caught.value.code

    def order(self, side: str, qty: str, price: str | None = None, **params: Any) -> str:
        """Place an order; its id."""
        return str(self.ask("order/create", **self.wish(side, qty, price, **params))["orderId"])

    def wish(self, side: str, qty: str, price: str | None = None, **params: Any) -> dict[str, Any]:
        """The parameters of an order."""
        kind = {"orderType": "Limit", "price": price} if price else {"orderType": "Market"}
        return {"symbol": SYMBOL, "side": side, "qty": qty} | kind | params

    def show(self, order_id: str) -> dict[str, Any]:
        """An order as REST shows it."""
        (row,) = self.ask("order/realtime", symbol=SYMBOL, orderId=order_id)["list"]
        return row  # type: ignore[no-any-return]

    def find(self, order_id: str) -> Order:
        """An open order."""
        return next(order for order in self.desk.orders.values() if order.order_id == order_id)

    def open(self, **params: Any) -> list[dict[str, Any]]:
        """Open orders, newest first."""
        return self.ask("order/realtime", symbol=SYMBOL, **params)["list"]  # type: ignore[no-any-return]

    def position(self, idx: int = 0) -> dict[str, Any]:
        """A position as REST shows it."""
        rows = self.ask("position/list", symbol=SYMBOL)["list"]
        (row,) = [row for row in rows if row["positionIdx"] == idx]
        return row  # type: ignore[no-any-return]

    def place_of(self, idx: int = 0) -> Position:
        """A position."""
        return self.desk.positions[SYMBOL].at(idx)

    def wallet(self) -> dict[str, Any]:
        """The account as REST shows it."""
        (row,) = self.ask("account/wallet-balance", accountType="UNIFIED")["list"]
        return row  # type: ignore[no-any-return]

    def price(self, side: int, away: int = 0) -> str:
        """The best price of a side (0 bids), so many ticks away from the market."""
        return self.numbers.price(self.ticks(side, away))

    def ticks(self, side: int, away: int = 0) -> int:
        """The same in ticks."""
        best = self.listing.best_bid if side == 0 else self.listing.best_ask
        assert best is not None
        return best - away if side == 0 else best + away

    def topics(self, topic: str) -> list[dict[str, Any]]:
        """Everything that was told on a topic."""
        return [row for name, row in self.told if name == topic]

    def run(self, seconds: float = 3600.0, until: Callable[[], bool] = lambda: False) -> None:
        """Let market time pass, at most so long."""
        end = self.venue.now_ms + int(seconds * 1000)
        while self.venue.now_ms < end and not until():
            self.venue.step(end)

    def sweep(self, side: int, levels: int) -> None:
        """Let somebody else take everything up to so many ticks behind the best price of the other side."""
        market = self.listing.market
        limit = self.ticks(1 - side, levels)
        market.take(side, limit, 10**9, 0)
        self.desk.settle(self.listing)
