"""REST: the account and its key."""

from __future__ import annotations

from typing import Any

from simulation.exchange.auth import Keyring, wall_ms
from simulation.exchange.listing import Listing
from simulation.exchange.numbers import money
from simulation.exchange.orders import Refusal
from simulation.exchange.requests import need_category, need_listing
from simulation.exchange.routes import Params, reads
from simulation.exchange.venue import Venue


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
        self.routes = {
            "/v5/account/wallet-balance": reads(self._wallet_balance),
            "/v5/account/fee-rate": reads(self._fee_rate),
            "/v5/account/info": reads(self._account_info),
            "/v5/user/query-api": reads(self._query_api, message=""),
        }

    def _chosen(self, params: Params) -> list[Listing]:
        need_category(params)
        if "symbol" in params:
            return [need_listing(params, self._venue.listings)]
        return list(self._venue.listings.values())

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
