"""REST: the account and its key."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from simulation.exchange.auth import Keyring, wall_ms
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money
from simulation.exchange.orders import Refusal
from simulation.exchange.requests import need_category, need_limit, need_listing, need_window, page_back
from simulation.exchange.routes import Params, reads, writes
from simulation.exchange.venue import Venue
from simulation.exchange.wallet import CROSS, ISOLATED

#: ``unifiedMarginStatus`` of a unified account 2.0.
_UNIFIED = 5


class AccountRoutes:
    """Endpoints of ``/v5/account`` and ``/v5/user``.

    Parameters
    ----------
    venue
        What is traded.
    keyring
        Whose account it is.
    """

    def __init__(self, venue: Venue, keyring: Keyring) -> None:
        self._venue, self._desk, self._keyring = venue, venue.desk, keyring
        self._updated_ms = wall_ms()
        self.routes = {
            "/v5/account/wallet-balance": reads(self._wallet_balance),
            "/v5/account/fee-rate": reads(self._fee_rate),
            "/v5/account/info": reads(self._account_info),
            "/v5/account/transaction-log": reads(self._transactions),
            "/v5/account/set-margin-mode": writes(self._set_margin_mode),
            "/v5/user/query-api": reads(self._query_api, message=""),
        }

    def _chosen(self, params: Params) -> list[Listing]:
        need_category(params)
        if params.get("symbol"):
            return [need_listing(params, self._venue.listings)]
        return list(self._venue.listings.values())

    def _wallet_balance(self, params: Params) -> Any:
        if params.get("accountType") != "UNIFIED":
            raise Refusal(10001, "accountType only support UNIFIED.")
        row = self._desk.wallet.row(self._desk.order_margin())
        if params.get("coin"):
            wanted = str(params["coin"]).split(",")
            row["coin"] = [coin for coin in row["coin"] if coin["coin"] in wanted]
        return {"list": [row]}

    def _fee_rate(self, params: Params) -> Any:
        maker, taker = money(self._desk.maker_fee), money(self._desk.taker_fee)
        rows = [{"symbol": one.symbol, "takerFeeRate": taker, "makerFeeRate": maker} for one in self._chosen(params)]
        return {"list": rows}

    def _account_info(self, params: Params) -> Any:
        return {
            "marginMode": self._desk.wallet.mode,
            "updatedTime": str(self._updated_ms),
            "unifiedMarginStatus": _UNIFIED,
            "dcpStatus": "OFF",
            "timeWindow": 0,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _transactions(self, params: Params) -> Any:
        if params.get("accountType") not in (None, "", "UNIFIED"):
            raise Refusal(10001, "accountType only support UNIFIED.")
        limit = need_limit(params, 50, 20)
        start, end = need_window(params, self._venue.now_ms, 1)
        wanted = {"category": params.get("category"), "currency": params.get("currency"), "type": params.get("type")}
        wanted["symbol"] = f"{params['baseCoin']}USDT" if params.get("baseCoin") else None
        wanted["transSubType"] = params.get("transSubType")
        rows = (
            (number, row)
            for number, row in reversed(self._desk.ledger.transactions)
            if start <= int(row["transactionTime"]) <= end
            and all(not value or row[name] == value for name, value in wanted.items())
        )
        found, cursor = page_back(rows, params, limit)
        return {"list": found, "nextPageCursor": cursor}

    def _set_margin_mode(self, params: Params) -> Any:
        self._desk.key_info.need("ContractTrade", "Position")
        mode = params.get("setMarginMode")
        if mode not in (CROSS, ISOLATED, "PORTFOLIO_MARGIN"):
            raise Refusal(10001, "params error: setMarginMode invalid")
        if mode == "PORTFOLIO_MARGIN":
            raise _failed("3400000", "Equity needs to be equal to or greater than 1000 USDC")
        wallet = self._desk.wallet
        old, wallet.mode = wallet.mode, mode
        apart = any(one.at(1).leverage != one.at(2).leverage for one in self._desk.positions.values())
        if mode == CROSS and apart:
            wallet.mode = old
            raise _failed("3400044", "Long and short leverage of a contract differ")
        if old != mode and wallet.positions and self._desk.available() < 0:
            wallet.mode = old
            raise _failed("3400071", "The net asset is not satisfied")
        if old != mode:
            self._updated_ms = wall_ms()
            for position in wallet.positions:
                position.extra = Decimal(0)
                self._desk.changed(position)
            self._desk.flush()
        return {"reasons": []}

    def _query_api(self, params: Params) -> Any:
        return self._desk.key_info.row(self._keyring.key)


def _failed(code: str, message: str) -> Refusal:
    return Refusal(3400045, "Set margin mode failed", {"reasons": [{"reasonCode": code, "reasonMsg": message}]})
