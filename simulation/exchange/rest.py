"""The REST API: market data for everybody, orders, positions and money for whoever signs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from simulation.exchange.auth import LIMITS, Keyring, RateLimiter, wall_ms
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money
from simulation.exchange.orders import Order, Refusal
from simulation.exchange.requests import (
    Params,
    check_stops,
    leverage,
    need_category,
    need_limit,
    need_listing,
    need_time,
    new_order,
    page,
    ticks,
)
from simulation.exchange.venue import Venue

#: HTTP status, body, headers.
Answer = tuple[int, bytes, dict[str, str]]
_MINUTES = {"1": 1, "3": 3, "5": 5, "15": 15, "30": 30, "60": 60, "120": 120, "240": 240, "360": 360, "720": 720}
_MINUTES["D"] = 1_440
_FAR_FUTURE_MS = 1 << 52


class RestApi:
    """Answers requests; knows nothing of HTTP servers.

    Parameters
    ----------
    venue
        What is traded.
    keyring
        Who may trade.
    limits
        Requests a second of an endpoint.
    """

    def __init__(self, venue: Venue, keyring: Keyring, limits: Mapping[str, int] = LIMITS) -> None:
        self._venue, self._desk, self._keyring = venue, venue.desk, keyring
        self._limiter = RateLimiter(limits)
        self._public: dict[str, Callable[[Params], Any]] = {
            "/v5/market/time": self._time,
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/orderbook": self._orderbook,
            "/v5/market/kline": self._kline,
            "/v5/market/recent-trade": self._recent_trade,
            "/v5/market/tickers": self._tickers,
        }
        self._reads: dict[str, Callable[[Params], Any]] = {
            "/v5/order/realtime": self._realtime,
            "/v5/execution/list": self._execution_list,
            "/v5/position/list": self._position_list,
            "/v5/account/wallet-balance": self._wallet_balance,
            "/v5/account/fee-rate": self._fee_rate,
            "/v5/account/info": self._account_info,
            "/v5/user/query-api": self._query_api,
        }
        self._writes: dict[str, Callable[[Params], Any]] = {
            "/v5/order/create": self._create,
            "/v5/order/cancel": self._cancel,
            "/v5/order/cancel-all": self._cancel_all,
            "/v5/position/set-leverage": self._set_leverage,
            "/v5/position/trading-stop": self._trading_stop,
            "/v5/position/switch-mode": self._switch_mode,
        }

    def answer(
        self, method: str, path: str, query: Mapping[str, str], spellings: tuple[str, ...], headers: Mapping[str, str],
    ) -> Answer:  # fmt: skip
        """Answer one request.

        Parameters
        ----------
        method, path
            Of the request.
        query
            Parameters of a GET.
        spellings
            What the client may have signed: the raw and the decoded query string, or the body.
        headers
            With the signature.
        """
        extra: dict[str, str] = {}
        try:
            if method == "GET" and path in self._public:
                return _answer(self._public[path](query))
            handler = self._reads.get(path) if method == "GET" else self._writes.get(path)
            if handler is None:
                return _answer({}, Refusal(10017, "Route not found."), status=404)
            if "X-BAPI-API-KEY" not in headers:
                return 401, b"", {}
            self._keyring.check_request(headers, spellings)
            extra, allowed = self._limiter.spend(path)
            if not allowed:
                raise Refusal(10006, "Too many visits. Exceeded the API Rate Limit.")
            return _answer(handler(query if method == "GET" else _body(spellings[0])), headers=extra)
        except Refusal as refusal:
            return _answer({}, refusal, headers=extra)

    # -- market -------------------------------------------------------------------------------------------------------

    def _time(self, params: Params) -> Any:
        now = time.time_ns()
        return {"timeSecond": str(now // 1_000_000_000), "timeNano": str(now)}

    def _chosen(self, params: Params) -> list[Listing]:
        need_category(params)
        if "symbol" in params:
            return [need_listing(params, self._venue.listings)]
        return list(self._venue.listings.values())

    def _instruments(self, params: Params) -> Any:
        rows, cursor = page([one.info() for one in self._chosen(params)], params, need_limit(params, 1_000, 500))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _orderbook(self, params: Params) -> Any:
        need_category(params)
        return need_listing(params, self._venue.listings).book(need_limit(params, 1_000, 25))

    def _kline(self, params: Params) -> Any:
        need_category({"category": "linear"} | dict(params))
        listing = need_listing(params, self._venue.listings)
        minutes = _MINUTES.get(str(params.get("interval")))
        if minutes is None:
            raise Refusal(10001, "params error: interval invalid")
        start, end = need_time(params, "start", 0), need_time(params, "end", _FAR_FUTURE_MS)
        rows = listing.klines(minutes, start, end, need_limit(params, 1_000, 200))
        return {"symbol": listing.symbol, "category": "linear", "list": rows}

    def _recent_trade(self, params: Params) -> Any:
        need_category(params)
        listing = need_listing(params, self._venue.listings)
        return {"category": "linear", "list": listing.recent(need_limit(params, 1_000, 500))}

    def _tickers(self, params: Params) -> Any:
        rows = [self._venue.tickers[listing.symbol].rest() for listing in self._chosen(params)]
        return {"category": "linear", "list": rows}

    # -- orders -------------------------------------------------------------------------------------------------------

    def _create(self, params: Params) -> Any:
        order = new_order(params, self._desk, self._venue.listings)
        self._desk.place(order)
        return {"orderId": order.order_id, "orderLinkId": order.link_id}

    def _find(self, params: Params) -> Order:
        order_id, link_id = params.get("orderId"), params.get("orderLinkId")
        if not order_id and not link_id:
            raise Refusal(10001, "params error: orderId and orderLinkId can not both be empty")
        for order in self._desk.orders.values():
            if (order.order_id == order_id) if order_id else (order.link_id == link_id):
                return order
        raise Refusal(110001, "order not exists or too late to cancel")

    def _cancel(self, params: Params) -> Any:
        need_category(params)
        need_listing(params, self._venue.listings)
        order = self._find(params)
        if order.stop_kind in ("TakeProfit", "StopLoss") and order.conditional:
            position = self._desk.positions[order.listing.symbol]
            kept = {"TakeProfit": position.take_profit, "StopLoss": position.stop_loss} | {order.stop_kind: 0}
            self._desk.set_stops(position, kept["TakeProfit"], kept["StopLoss"])
        else:
            self._desk.cancel(order)
        return {"orderId": order.order_id, "orderLinkId": order.link_id}

    def _cancel_all(self, params: Params) -> Any:
        need_category(params)
        if not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin")):
            raise Refusal(10001, "params error: symbol, settleCoin and baseCoin can not all be empty")
        listing = need_listing(params, self._venue.listings) if params.get("symbol") else None
        kinds = {"Order": (False,), "StopOrder": (True,)}.get(str(params.get("orderFilter", "")), (False, True))
        orders = [order for order in self._desk.open_orders(listing) if order.conditional in kinds]
        for order in orders:
            if order.open and order.stop_kind not in ("TakeProfit", "StopLoss"):
                self._desk.cancel(order)
        done = [order for order in orders if not order.open]
        rows = [{"orderId": order.order_id, "orderLinkId": order.link_id} for order in done]
        return {"list": rows, "success": "1"}

    def _realtime(self, params: Params) -> Any:
        need_category(params)
        order_id, link_id = params.get("orderId"), params.get("orderLinkId")
        if not any(params.get(name) for name in ("symbol", "baseCoin", "settleCoin", "orderId", "orderLinkId")):
            raise Refusal(10001, "params error: symbol, settleCoin and baseCoin can not all be empty")
        everything = [*self._desk.closed, *self._desk.orders.values()]
        if order_id or link_id:
            orders = [o for o in everything if (o.order_id == order_id if order_id else o.link_id == link_id)]
        else:
            listing = need_listing(params, self._venue.listings) if params.get("symbol") else None
            closed = str(params.get("openOnly", "0")) == "1"
            orders = [o for o in everything if o.open != closed and listing in (None, o.listing)]
        if params.get("orderFilter") in ("Order", "StopOrder"):
            wanted = params["orderFilter"] == "StopOrder"
            orders = [order for order in orders if bool(order.stop_kind) == wanted]
        rows, cursor = page([order.row() for order in reversed(orders)], params, need_limit(params, 50, 20))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _execution_list(self, params: Params) -> Any:
        need_category(params)
        start, end = need_time(params, "startTime", 0), need_time(params, "endTime", _FAR_FUTURE_MS)
        names = ("orderId", "orderLinkId", "symbol")
        given = next(((name, params[name]) for name in names if params.get(name)), None)
        kind = params.get("execType")
        rows = [
            row
            for row in reversed(self._desk.executions)
            if (given is None or row[given[0]] == given[1])
            and (not kind or row["execType"] == kind)
            and start <= int(row["execTime"]) <= end
        ]
        rows, cursor = page(rows, params, need_limit(params, 100, 50))
        hidden = ("category", "execPnl", "isLeverage", "marketUnit")
        rows = [{name: value for name, value in row.items() if name not in hidden} for row in rows]
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    # -- positions and money ------------------------------------------------------------------------------------------

    def _position_list(self, params: Params) -> Any:
        need_category(params)
        if params.get("symbol"):
            chosen = [self._desk.positions[need_listing(params, self._venue.listings).symbol]]
        elif params.get("settleCoin") == "USDT":
            chosen = [position for position in self._desk.positions.values() if position.steps]
        elif params.get("settleCoin"):
            chosen = []
        else:
            raise Refusal(10001, "params error: symbol and settleCoin can not both be empty")
        balance = self._desk.wallet.balance
        rows, cursor = page([one.rest_row(balance) for one in chosen], params, need_limit(params, 200, 20))
        return {"category": "linear", "list": rows, "nextPageCursor": cursor}

    def _set_leverage(self, params: Params) -> Any:
        need_category(params)
        listing = need_listing(params, self._venue.listings)
        wanted, position = leverage(params, listing), self._desk.positions[listing.symbol]
        if wanted == position.leverage:
            raise Refusal(110043, "Set leverage not modified")
        position.leverage = wanted
        return {}

    def _trading_stop(self, params: Params) -> Any:
        need_category(params)
        listing = need_listing(params, self._venue.listings)
        position = self._desk.positions[listing.symbol]
        if params.get("positionIdx", 0) != 0:
            raise Refusal(10001, "position idx not match position mode")
        if params.get("tpslMode", "Full") != "Full":
            raise Refusal(10001, "params error: only tpslMode Full is served here")
        if position.steps == 0:
            raise Refusal(10001, "can not set tp/sl/ts for zero position")
        profit, stop = position.take_profit, position.stop_loss
        if params.get("takeProfit") not in (None, ""):
            profit = ticks(listing, params["takeProfit"], "takeProfit")
        if params.get("stopLoss") not in (None, ""):
            stop = ticks(listing, params["stopLoss"], "stopLoss")
        if (profit, stop) == (position.take_profit, position.stop_loss):
            raise Refusal(34040, "not modified")
        check_stops(listing, 0 if position.steps > 0 else 1, listing.last_ticks, profit, stop)
        self._desk.set_stops(position, profit, stop)
        return {}

    def _switch_mode(self, params: Params) -> Any:
        need_category(params)
        if str(params.get("mode")) == "0":
            raise Refusal(110025, "Position mode is not modified")
        raise Refusal(110029, "Hedge mode is not supported for this symbol.")

    def _wallet_balance(self, params: Params) -> Any:
        if params.get("accountType") != "UNIFIED":
            raise Refusal(10001, "accountType only support UNIFIED.")
        return {"list": [self._desk.wallet.row(self._desk.order_margin())]}

    def _fee_rate(self, params: Params) -> Any:
        maker, taker = money(self._desk.maker_fee), money(self._desk.taker_fee)
        rows = [{"symbol": one.symbol, "takerFeeRate": taker, "makerFeeRate": maker} for one in self._chosen(params)]
        return {"category": "linear", "list": rows}

    def _account_info(self, params: Params) -> Any:
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": str(wall_ms()),
            "unifiedMarginStatus": 5,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _query_api(self, params: Params) -> Any:
        empty = ("Wallet", "Options", "CopyTrading", "BlockTrade", "Exchange", "NFT", "Affiliate", "Earn", "Spot")
        permissions = {"ContractTrade": ["Order", "Position"], "Derivatives": ["DerivativesTrade"]}
        return {
            "id": "1",
            "note": "local exchange",
            "apiKey": self._keyring.key,
            "readOnly": 0,
            "secret": "",
            "permissions": permissions | {name: [] for name in empty},
            "ips": ["*"],
            "type": 1,
            "deadlineDay": 90,
            "expiredAt": "2099-12-31T00:00:00Z",
            "createdAt": "2020-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": 1,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_1",
            "kycRegion": "",
        }


def _body(text: str) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Refusal(10001, "Request parameter error: the body is not JSON") from error
    if not isinstance(body, dict):
        raise Refusal(10001, "Request parameter error: the body is not an object")
    return body


def _answer(
    result: Any, refusal: Refusal | None = None, *, status: int = 200, headers: dict[str, str] | None = None
) -> Answer:
    body = {
        "retCode": refusal.code if refusal else 0,
        "retMsg": refusal.message if refusal else "OK",
        "result": result,
        "retExtInfo": {},
        "time": wall_ms(),
    }
    return status, msgspec.json.encode(body), headers or {}
