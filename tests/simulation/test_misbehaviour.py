"""Misbehaviour of requests and accounts: each fault does what it says, where and as often as it was told to."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import requests
from pybit.exceptions import FailedRequestError, InvalidRequestError

from market.errors import ConfigError
from simulation.exchange.misbehaviour import KINDS, Fault, Misbehaviour, schema, spelled

from .exchange_floor import SYMBOL, Floor, eventually, floor


async def code(place: Floor, method: str, **params: Any) -> int:
    """The retCode of a pybit call; 0 for success."""
    try:
        await asyncio.to_thread(getattr(place.client, method), **params)
    except InvalidRequestError as error:
        return int(error.status_code)
    return 0


async def balance_code(place: Floor) -> int:
    return await code(place, "get_wallet_balance", accountType="UNIFIED")


async def create(place: Floor, **params: Any) -> int:
    order = {"symbol": SYMBOL, "side": "Buy", "orderType": "Limit", "qty": "0.1", "price": place.price(0, 10)} | params
    return await code(place, "place_order", category="linear", **order)


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        {"kind": "gossip"},
        {"kind": "drop", "ms": 5.0},
        {"kind": "drop", "count": 0},
        {"kind": "drop", "probability": 0.0},
        {"kind": "drop", "probability": 1.5},
        {"kind": "drop", "seconds": -1.0},
        {"kind": "latency", "ms": -1.0},
        {"kind": "latency", "ms": float("nan")},
        {"kind": "fill-on-cancel", "share": 0.0},
        {"kind": "manual-order", "side": "Up", "qty": "1"},
        {"kind": "manual-order", "qty": "much"},
        {"kind": "manual-position"},
        {"kind": "drop", "colour": "red"},
    ],
)
def test_impossible_faults_are_refused(words: dict[str, Any]) -> None:
    kind = words.pop("kind")
    with pytest.raises(ConfigError, match="control/schema"):
        spelled({kind: words})


def test_words_mean_counts_chances_and_fields() -> None:
    faults = spelled({"timeout_after": 2, "drop": 0.5, "cut": True, "stall": {"ms": 3}})
    assert [(f.kind, f.count, f.probability) for f in faults] == [
        ("timeout-after", 2, 1.0),
        ("drop", None, 0.5),
        ("cut", None, 1.0),
        ("stall", None, 1.0),
    ]
    assert faults[3].pause == 0.003


def test_schema_tells_every_kind_and_field() -> None:
    told = schema()
    assert set(told["kinds"]) == set(KINDS)
    fields = told["schema"]["$defs"]["Fault"]["properties"]
    for row in told["kinds"].values():
        assert set(row["fields"]) <= set(fields)
    msgspec.json.encode(told)


def test_measure_and_seed_decide_alone() -> None:
    def run(seed: int) -> list[bool]:
        faults = Misbehaviour(seed, lambda fault: None)
        faults.add(Fault("drop", on="a.*", after=3, count=20, probability=0.3))
        return [faults.strike((f"{'ab'[k % 2]}.x",), "", "drop") is not None for k in range(300)]

    first = run(1)
    assert first == run(1)
    assert first != run(2)
    assert sum(first) == 20
    assert not any(first[1::2])
    assert not any(first[:6])


def test_latencies_are_log_normal_about_their_median() -> None:
    faults = Misbehaviour(3, lambda fault: None)
    faults.add(Fault("latency", ms=40.0, sigma=0.5))
    delays = sorted(faults.request(("/v5/order/create",)).delay for _ in range(2_001))
    assert delays[1_000] == pytest.approx(0.040, rel=0.05)
    assert delays[1_682] == pytest.approx(0.040 * 1.6487, rel=0.08)  # one standard deviation up


def test_time_ends_a_fault() -> None:
    faults = Misbehaviour(3, lambda fault: None)
    active = faults.add(Fault("http-status", seconds=0.02))
    assert faults.request(("/v5/x",)).status == 500
    time.sleep(0.03)
    assert active.over
    assert faults.request(("/v5/x",)).status == 0


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.failure(21)
async def test_time_out_before_and_after_an_order_is_accepted() -> None:
    async with floor() as place:
        place.client.max_retries = 1
        for kind, there in (("timeout-before", 0), ("timeout-after", 1)):
            link = f"link-{there}"
            async with place.exchange.misbehave(**{kind: {"on": "/v5/order/create", "count": 1}}) as (fault,):
                place.client.timeout = 0.3
                with pytest.raises((requests.exceptions.RequestException, FailedRequestError)):
                    await create(place, orderLinkId=link)
                place.client.timeout = 20
                assert fault.hits == 1
            found = await place.call("get_open_orders", symbol=SYMBOL, orderLinkId=link)
            assert len(found["list"]) == there
            assert await create(place, orderLinkId=link) == (110072 if there else 0)


@pytest.mark.parametrize("number", [10000, 10002, 10006, 10016, 10019])
async def test_codes_with_and_without_the_order(number: int) -> None:
    async with floor() as place:
        async with place.exchange.misbehave(ret_code={"code": number, "on": "/v5/order/*", "count": 1}):
            assert await create(place, orderLinkId="a") == number
            assert await create(place, orderLinkId="a") == 0
        async with place.exchange.misbehave(ret_code={"code": number, "accepted": True, "count": 1}):
            assert await create(place, orderLinkId="b") == number
        assert {order.link_id for order in place.desk.open_orders()} == {"a", "b"}


async def test_http_500_and_scope_by_symbol() -> None:
    async with floor(symbols=("ONEUSDT", SYMBOL)) as place:
        async with place.exchange.misbehave(http_status={"status": 500, "symbol": "ONEUSDT"}):
            assert await create(place) == 0
            with pytest.raises(FailedRequestError):
                await create(place, symbol="ONEUSDT")
            with pytest.raises(FailedRequestError):
                await asyncio.to_thread(place.client.get_tickers, category="linear", symbol="ONEUSDT")
        async with place.exchange.misbehave(http_status={"accepted": True, "on": "/v5/order/create"}):
            with pytest.raises(FailedRequestError):
                await create(place, orderLinkId="there")
        assert "there" in {order.link_id for order in place.desk.open_orders()}


@pytest.mark.failure(1)
@pytest.mark.failure(2)
@pytest.mark.failure(3)
async def test_each_read_fails_alone() -> None:
    async with floor() as place:
        reads = {
            "balance": ("get_wallet_balance", {"accountType": "UNIFIED"}),
            "position": ("get_positions", {"category": "linear", "symbol": SYMBOL}),
            "open-orders": ("get_open_orders", {"category": "linear", "symbol": SYMBOL}),
            "executions": ("get_executions", {"category": "linear", "symbol": SYMBOL}),
        }
        for failing in reads:
            async with place.exchange.misbehave(failed_read={"on": failing}):
                codes = {name: await code(place, method, **params) for name, (method, params) in reads.items()}
            assert codes == dict.fromkeys(reads, 0) | {failing: 10016}


@pytest.mark.failure(39)
async def test_clock_skew_is_a_10002_and_the_time_endpoint_tells() -> None:
    async with floor() as place:
        async with place.exchange.misbehave(clock_skew={"ms": 20_000.0}):
            assert await balance_code(place) == 10002
            answer = await asyncio.to_thread(place.client.get_server_time)
            ahead = answer["time"] - time.time() * 1000
            assert 19_000 < ahead < 21_000
            assert 19 < int(answer["result"]["timeSecond"]) - time.time() < 21
        async with place.exchange.misbehave(clock_skew={"ms": -20_000.0}):
            assert await balance_code(place) == 10002
        assert await balance_code(place) == 0


async def test_maintenance_is_told_and_refuses_what_is_signed() -> None:
    async with floor() as place:
        url = f"{place.exchange.rest_url}/v5/system/status"

        async def states() -> list[str]:
            async with place.session.get(url) as answer:
                return [row["state"] for row in (await answer.json())["result"]["list"]]

        assert await states() == []
        async with place.exchange.misbehave(maintenance=True):
            assert await states() == ["ongoing"]
            assert await balance_code(place) == 10016
            assert await create(place) == 10016
            await place.call("get_orderbook", symbol=SYMBOL)
        assert await states() == []
        assert await create(place) == 0


async def test_latency_delays_answers() -> None:
    async with floor() as place, place.exchange.misbehave(latency={"ms": 150.0, "on": "/v5/account/*"}):
        started = time.monotonic()
        assert await balance_code(place) == 0
        assert time.monotonic() - started > 0.14
        started = time.monotonic()
        await place.call("get_positions", symbol=SYMBOL)
        assert time.monotonic() - started < 0.14


# -- orders ------------------------------------------------------------------------------------------------------------


async def test_accepted_order_is_rejected_later() -> None:
    async with floor() as place, place.exchange.misbehave(reject={"ms": 1_500.0, "count": 1, "on": "entry*"}):
        order_id = await place.order("Buy", "0.1", place.price(0), orderLinkId="entry-1")
        assert (await place.show(order_id))["orderStatus"] == "New"
        await eventually(lambda: not place.desk.open_orders())
        row = await place.show(order_id)
        assert (row["orderStatus"], row["rejectReason"]) == ("Rejected", "EC_Others")
        assert (await place.show(await place.order("Buy", "0.1", place.price(0))))["orderStatus"] == "New"


@pytest.mark.failure(22)
async def test_post_only_order_is_cancelled_although_it_would_rest() -> None:
    async with floor() as place:
        async with place.exchange.misbehave(cancel_post_only=1):
            states = []
            for _ in range(2):
                row = await place.show(await place.order("Buy", "0.1", place.price(0, 5), timeInForce="PostOnly"))
                states.append((row["orderStatus"], row["rejectReason"]))
        assert states == [("Cancelled", "EC_PostOnlyWillTakeLiquidity"), ("New", "EC_NoError")]


@pytest.mark.failure(16)
async def test_part_of_an_order_trades_while_it_is_cancelled() -> None:
    async with floor() as place:
        order_id = await place.order("Buy", "0.8", place.price(0, 1))
        async with place.exchange.misbehave(fill_on_cancel={"share": 0.25}):
            await place.call("cancel_order", symbol=SYMBOL, orderId=order_id)
        row = await place.show(order_id)
        assert (row["orderStatus"], row["cumExecQty"], row["leavesQty"]) == ("Cancelled", "0.200", "0.000")
        assert (await place.position())["size"] == "0.200"
        order_id = await place.order("Buy", "0.8", place.price(0, 1))
        async with place.exchange.misbehave(fill_on_cancel={"share": 1.0}):
            await place.call("cancel_order", symbol=SYMBOL, orderId=order_id)
        assert (await place.show(order_id))["orderStatus"] == "Filled"


# -- incidents ---------------------------------------------------------------------------------------------------------


@pytest.mark.failure(14)
async def test_orders_and_positions_by_hand_have_no_link_id() -> None:
    async with floor() as place:
        place.exchange.faults.add(Fault("manual-order", side="Buy", qty="0.2", price=place.price(0, 30)))
        (row,) = (await place.call("get_open_orders", symbol=SYMBOL))["list"]
        assert (row["orderLinkId"], row["qty"], row["orderStatus"]) == ("", "0.200", "New")
        place.exchange.faults.add(Fault("manual-position", side="Sell", qty="0.3"))
        position = await place.position()
        assert (position["side"], position["size"]) == ("Sell", "0.300")
        with pytest.raises(ConfigError, match="refuses"):
            place.exchange.faults.add(Fault("manual-position", qty="0.0001"))


async def test_funding_on_demand_is_an_execution_row() -> None:
    async with floor() as place:
        await place.order("Buy", "1")
        before = place.desk.wallet.balance
        place.exchange.faults.add(Fault("funding", rate="-0.002"))
        (row,) = (await place.call("get_executions", symbol=SYMBOL, execType="Funding"))["list"]
        assert (row["execType"], row["feeRate"], row["orderLinkId"]) == ("Funding", "-0.002", "")
        assert place.desk.wallet.balance == before - Decimal(row["execFee"]) > before


@pytest.mark.parametrize(("share", "left"), [(0.25, "0.600"), (1.0, "0.000")])
async def test_auto_deleveraging_takes_a_share_of_the_position(share: float, left: str) -> None:
    async with floor() as place:
        with pytest.raises(ConfigError, match="nothing is held"):
            place.exchange.faults.add(Fault("adl"))
        await place.order("Buy", "0.8", stopLoss=place.price(0, 60))
        await place.order("Buy", "0.1", place.price(0, 30), orderLinkId="rests")
        place.exchange.faults.add(Fault("adl", share=share))
        (row, *_) = (await place.call("get_executions", symbol=SYMBOL))["list"]
        assert (row["execType"], row["createType"], row["orderLinkId"]) == ("AdlTrade", "CreateByAdl_PassThrough", "")
        assert (await place.position())["size"] == left
        (rests,) = (await place.call("get_open_orders", symbol=SYMBOL, orderLinkId="rests"))["list"]
        assert (rests["orderStatus"], rests["cancelType"]) == ("Cancelled", "CancelAllBeforeAdl")


async def test_forced_liquidation_takes_everything() -> None:
    async with floor() as place:
        await place.order("Sell", "0.5", stopLoss=place.price(1, 60))
        place.exchange.faults.add(Fault("liquidate"))
        executions = (await place.call("get_executions", symbol=SYMBOL))["list"]
        assert (executions[0]["execType"], executions[0]["orderLinkId"]) == ("BustTrade", "")
        assert (await place.position())["size"] == "0.000"
        assert (await place.call("get_open_orders", symbol=SYMBOL))["list"] == []


# -- stops -------------------------------------------------------------------------------------------------------------


@pytest.mark.failure(8)
async def test_attached_stops_are_rejected_dropped_or_moved() -> None:
    async with floor() as place:

        async def enter(**words: Any) -> tuple[str, str, list[str]]:
            async with place.exchange.misbehave(**words):
                await place.order("Buy", "0.1", stopLoss=place.price(0, 60), takeProfit=place.price(1, 60))
            stop = (await place.position())["stopLoss"]
            orders = (await place.call("get_open_orders", symbol=SYMBOL))["list"]
            closed = (await place.call("get_open_orders", symbol=SYMBOL, openOnly=1))["list"]
            states = sorted({row["orderStatus"] for row in closed if row["stopOrderType"]})
            await place.order("Sell", "0.1", reduceOnly=True)
            return stop, orders[0]["triggerPrice"] if orders else "", states

        assert await enter(stop_drop={"on": "attached"}) == ("", "", [])
        assert await enter(stop_reject={"on": "attached"}) == ("", "", ["Rejected"])
        best = place.listing.best_bid
        assert best is not None
        stop, trigger, _ = await enter(stop_adjust={"ticks": 7})
        assert stop == place.listing.numbers.price(best - 67)
        assert trigger in (stop, place.listing.numbers.price(best + 1 + 67))
        assert (await enter(stop_drop={"on": "trading-stop"}))[0]


@pytest.mark.failure(8)
async def test_stops_by_request_are_refused_dropped_or_moved() -> None:
    async with floor() as place:
        await place.order("Buy", "0.1")
        move = {"category": "linear", "symbol": SYMBOL, "tpslMode": "Full", "positionIdx": 0}
        wanted = place.price(0, 60)
        async with place.exchange.misbehave(stop_reject={"code": 10001}):
            assert await code(place, "set_trading_stop", stopLoss=wanted, **move) == 10001
        assert (await place.position())["stopLoss"] == ""
        async with place.exchange.misbehave(stop_drop=1):
            assert await code(place, "set_trading_stop", stopLoss=wanted, **move) == 0
        assert (await place.position())["stopLoss"] == ""
        async with place.exchange.misbehave(stop_adjust={"ticks": 3}):
            assert await code(place, "set_trading_stop", stopLoss=wanted, **move) == 0
        assert (await place.position())["stopLoss"] == place.price(0, 63)


# -- control -----------------------------------------------------------------------------------------------------------


async def test_control_endpoint_takes_tells_and_clears() -> None:
    async with floor() as place:
        url = f"{place.exchange.rest_url}/control"

        async def post(**body: Any) -> tuple[int, dict[str, Any]]:
            async with place.session.post(url, json=body) as answer:
                return answer.status, await answer.json()

        status, state = await post(speed=0.0, faults=[{"kind": "ret-code", "on": "balance", "code": 10006}])
        assert status == 200
        (number,) = state["added"]
        assert state["faults"] == [
            {"id": number, "hits": 0, "over": False, "kind": "ret-code", "on": "balance", "code": 10006}
        ]
        assert await balance_code(place) == 10006
        async with place.session.get(url) as answer:
            assert (await answer.json())["faults"][0]["hits"] == 1
        assert (await post(clear=[number]))[1]["faults"] == []
        assert await balance_code(place) == 0
        for wrong in (
            {"faults": [{"kind": "gossip"}]},
            {"faults": [{"kind": "drop", "ms": 3}]},
            {"volume": 3},
            {"faults": [{"kind": "adl", "symbol": "NONE"}]},
        ):
            status, told = await post(**wrong)
            assert status == 400
            assert told["error"]
        async with place.session.get(f"{url}/schema") as answer:
            assert "adl" in (await answer.json())["kinds"]
