"""REST: what is asked for beside linear contracts. Other products list nothing; the one coin is USDT."""

from __future__ import annotations

from typing import Any

from simulation.exchange.routes import Params, Route, reads

#: Products of Bybit that are not traded here.
OTHER_PRODUCTS = ("spot", "inverse", "option")
#: Lists that clients fetch for every product before they begin.
_LISTS = ("/v5/market/instruments-info", "/v5/market/tickers")


def other_routes() -> dict[str, Route]:
    """Endpoints that say that there is nothing."""
    return {"/v5/asset/coin/query-info": reads(_coins, message="success")}


def lists_nothing(path: str, params: Params) -> dict[str, Any] | None:
    """The empty list of another product; ``None`` where something else is asked for."""
    category = params.get("category")
    if path not in _LISTS or category not in OTHER_PRODUCTS:
        return None
    empty = {"category": category, "list": list[Any]()}
    return empty if path == "/v5/market/tickers" else empty | {"nextPageCursor": ""}


def _coins(params: Params) -> dict[str, Any]:
    chain = {
        "chain": "LOCAL",
        "chainType": "Local",
        "confirmation": "1",
        "withdrawFee": "",
        "depositMin": "0",
        "withdrawMin": "0",
        "minAccuracy": "8",
        "chainDeposit": "0",
        "chainWithdraw": "0",
        "withdrawPercentageFee": "0",
        "contractAddress": "",
        "safeConfirmNumber": "1",
        "withdrawMax": "-1",
    }
    usdt = {"name": "USDT", "coin": "USDT", "remainAmount": "0", "chains": [chain]}
    return {"rows": [usdt] if params.get("coin", "USDT") in ("", "USDT") else []}
