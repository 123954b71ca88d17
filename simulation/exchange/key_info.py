"""What the account's API key may do, as ``GET /v5/user/query-api`` tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from simulation.exchange.orders import Refusal

#: Every permission that Bybit names, with nothing granted.
_NOTHING = (
    "ContractTrade", "Spot", "Wallet", "Options", "Derivatives", "CopyTrading", "BlockTrade", "Exchange", "NFT",
    "Affiliate", "Earn", "FiatP2P", "FiatBitPay", "FiatConvertBroker", "FiatGlobalPay", "BitCard", "ByXPost",
)  # fmt: skip
#: What a key that may trade contracts has.
TRADING = {"ContractTrade": ["Order", "Position"], "Derivatives": ["DerivativesTrade"]}
#: What a key that may send money away has as well.
WITHDRAWAL = {"Wallet": ["AccountTransfer", "Withdraw"]}


@dataclass(slots=True)
class KeyInfo:
    """Properties of the key; change them to see how a client takes it.

    Attributes
    ----------
    read_only
        Orders and settings are refused with 10005.
    permissions
        Granted ones by group; see :data:`TRADING` and :data:`WITHDRAWAL`.
    ips
        Addresses that the key is bound to; ``["*"]`` for none.
    deadline_days
        Days until an unbound key expires.
    """

    read_only: bool = False
    permissions: dict[str, list[str]] = field(default_factory=lambda: dict(TRADING))
    ips: list[str] = field(default_factory=lambda: ["*"])
    deadline_days: int = 90

    def need(self, group: str, permission: str) -> None:
        """Refuse what the key may not do.

        Raises
        ------
        Refusal
            10005.
        """
        if self.read_only or permission not in self.permissions.get(group, []):
            raise Refusal(10005, "Permission denied, please check your API key permissions.")

    def row(self, key: str) -> dict[str, Any]:
        """The result of ``GET /v5/user/query-api``."""
        return {
            "id": "1",
            "note": "local exchange",
            "apiKey": key,
            "readOnly": int(self.read_only),
            "secret": "",
            "permissions": {name: list(self.permissions.get(name, [])) for name in _NOTHING},
            "ips": list(self.ips),
            "type": 1,
            "deadlineDay": self.deadline_days,
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
            "userIDInt64": "1",
            "inviterIDInt64": "0",
            "affiliateIDInt64": "0",
        }
