"""Contract rules as ``instruments-info`` and ``risk-limit`` tell them."""

from __future__ import annotations

import zlib
from decimal import Decimal
from typing import Any

from market.instruments import Instrument
from simulation.exchange.numbers import Numbers, money

#: Bybit's cap of the funding rate, and how far a limit price may lie from the mark price on the aggressive side.
FUNDING_CAP, PRICE_BAND = Decimal("0.005"), Decimal("0.05")
#: Position limit of the lowest risk tier in USDT, and the rates of maintenance margin of the tiers, as Bybit's BTCUSDT.
LOWEST_LIMIT = Decimal(2_000_000)
MAINTENANCE_RATE = Decimal("0.005")
TIERS = 5
#: Highest price, ticks.
MOST_TICKS = 1 << 22


def instrument_row(rules: Instrument, numbers: Numbers) -> dict[str, Any]:
    """An element of ``GET /v5/market/instruments-info``."""
    largest = numbers.size(rules.max_steps)
    return {
        "symbol": rules.symbol,
        "symbolId": zlib.crc32(rules.symbol.encode()) % 100_000,
        "contractType": "LinearPerpetual",
        "status": "Trading",
        "baseCoin": rules.symbol.removesuffix("USDT"),
        "quoteCoin": "USDT",
        "launchTime": "1585526400000",
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(numbers.price_digits),
        "leverageFilter": {
            "minLeverage": "1",
            "maxLeverage": f"{rules.max_leverage:.2f}",
            "leverageStep": "0.01",
        },
        "priceFilter": {
            "minPrice": numbers.price(1),
            "maxPrice": numbers.price(MOST_TICKS),
            "tickSize": numbers.price(1),
        },
        "lotSizeFilter": {
            "maxOrderQty": largest,
            "minOrderQty": numbers.size(rules.min_steps),
            "qtyStep": numbers.size(1),
            "postOnlyMaxOrderQty": largest,
            "maxMktOrderQty": numbers.size(rules.max_market_steps),
            "minNotionalValue": money(rules.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": rules.funding_interval_min,
        "settleCoin": "USDT",
        "copyTrading": "none",
        "upperFundingRate": str(FUNDING_CAP),
        "lowerFundingRate": str(-FUNDING_CAP),
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": {"priceLimitRatioX": str(PRICE_BAND), "priceLimitRatioY": str(PRICE_BAND)},
        "displayName": "",
        "symbolType": "",
        "forbidUplWithdrawal": False,
    }


def risk_rows(rules: Instrument) -> list[dict[str, Any]]:
    """The tiers of a contract for ``GET /v5/market/risk-limit``, lowest first.

    Each tier adds :data:`LOWEST_LIMIT` to the position and :data:`MAINTENANCE_RATE` to the maintenance margin; the
    deduction makes the margin continuous where one tier ends and the next begins.

    References
    ----------
    https://www.bybit.com/en/help-center/article/Maintenance-Margin-USDT-Contract
    """
    rows, deduction = [], Decimal(0)
    for tier in range(1, TIERS + 1):
        maintenance = MAINTENANCE_RATE * tier
        leverage = min(rules.max_leverage, (1 / (2 * maintenance)).quantize(Decimal("0.01")))
        deduction += LOWEST_LIMIT * (tier - 1) * MAINTENANCE_RATE if tier > 1 else Decimal(0)
        rows.append(
            {
                "id": tier,
                "symbol": rules.symbol,
                "riskLimitValue": money(LOWEST_LIMIT * tier),
                "maintenanceMargin": money(maintenance),
                "initialMargin": money((1 / leverage).quantize(Decimal("0.0001"))),
                "isLowestRisk": 1 if tier == 1 else 0,
                "maxLeverage": f"{leverage:.2f}",
                "mmDeduction": money(deduction) if tier > 1 else "",
            }
        )
    return rows
