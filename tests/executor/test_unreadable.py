"""Answers that are none: never an exception in the loop, never a zero; and what a venue says may carry no secret."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from executor.actions import Decided
from executor.events import EquityRead, PositionRead, VenueState
from executor.private import PrivateStream
from executor.status import status_values
from executor.survey import _entry
from executor.venue import VenueClient
from executor.wire import Reader, equity_of, fills
from market.errors import OrderRejected, OutcomeUnknown, VenueUnavailable
from simulation import SYNTHETIC
from tests.executor.rig import SYMBOL, Rig, rig
from tests.executor.test_live import protected
from tests.executor.wires import Wire

READER = Reader(SYNTHETIC)
EXECUTION = {
    "symbol": SYMBOL, "execType": "Trade", "execId": "e1", "orderLinkId": "SYNUSDT-abc-L0", "orderId": "o1",
    "side": "Buy",
    "execTime": "1800014400000", "execPrice": "30000.5", "execQty": "0.010", "closedSize": "0", "execFee": "0.1",
    "isMaker": True, "stopOrderType": "", "createType": "CreateByUser",
}  # fmt: skip
ORDER = {
    "symbol": SYMBOL, "orderLinkId": "SYNUSDT-abc-L0", "orderId": "o1", "orderStatus": "New", "cumExecQty": "0.000",
    "qty": "0.010", "rejectReason": "EC_NoError", "cancelType": "UNKNOWN", "reduceOnly": False, "closeOnTrigger": False,
    "stopOrderType": "", "triggerPrice": "", "positionIdx": 0,
}  # fmt: skip
POSITION = {"symbol": SYMBOL, "size": "0.010", "side": "Buy", "positionIdx": 0, "stopLoss": "29900.0", "takeProfit": ""}
WALLET = {"list": [{"coin": [{"coin": "USDT", "equity": "10000", "walletBalance": "10000"}]}]}
ENTRY = {"transactionTime": "1800014400000", "change": "1", "cashBalance": "1"}
NASTY = st.sampled_from(
    [None, "", " ", "NaN", "-NaN", "sNaN", "Infinity", "-Infinity", "-1", "-0.010", "0.0005", "1e40", "1e-40",
     "soon", "0x10", 5, -5, 1.5, float("nan"), float("inf"), True, [], {}, ["a"], {"a": 1}, b"x"]
)  # fmt: skip


@pytest.mark.failure(30)
@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(EXECUTION)), value=NASTY)
@example("execPrice", "Infinity")
@example("createType", 5)
def test_an_execution_is_read_or_refused(name: str, value: Any) -> None:
    try:
        read = READER.execution(EXECUTION | {name: value})
    except ValueError:
        return
    assert read.fee.is_finite()
    assert all(isinstance(number, int) for number in (read.price, read.size, read.time_ms, read.closed))
    assert fills(read, 1) or read.kind != "trade"


@pytest.mark.failure(30)
@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(ORDER)), value=NASTY)
@example("triggerPrice", "Infinity")
def test_an_order_is_read_or_refused(name: str, value: Any) -> None:
    try:
        read = READER.order(ORDER | {name: value})
    except ValueError:
        return
    assert min(read.filled, read.size) >= 0


@pytest.mark.failure(30)
@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(POSITION)), value=NASTY)
@example("size", "-0.010")
@example("size", "")
@example("size", None)
def test_a_position_is_read_or_refused_and_never_taken_for_flat(name: str, value: Any) -> None:
    try:
        read = READER.position(POSITION | {name: value})
    except ValueError:
        return
    assert read.steps in (10, -10) or name == "size"
    assert read.steps > 0 or name in ("size", "side")
    if name == "size":
        assert abs(read.steps) == abs(Decimal(value)) / SYNTHETIC.qty_step
        assert not str(value).startswith("-")


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["equity", "walletBalance", "coin"]), value=NASTY)
def test_a_wallet_is_read_or_refused(name: str, value: Any) -> None:
    coin = {"coin": "USDT", "equity": "10000", "walletBalance": "10000"} | {name: value}
    for answer in ({"list": [{"coin": [coin]}]}, {"list": [value]}, {"list": value}, {name: value}):
        try:
            equity, balance = equity_of(answer)
        except ValueError:
            continue
        assert equity.is_finite()
        assert balance.is_finite()


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(ENTRY)), value=NASTY)
def test_an_entry_of_the_log_is_read_or_refused(name: str, value: Any) -> None:
    try:
        time_ms, change, balance = _entry(ENTRY | {name: value})
    except ValueError:
        return
    assert isinstance(time_ms, int)
    assert change.is_finite()
    assert balance.is_finite()


class Answering(Wire):
    """Gives a list of something else."""

    def __init__(self, made: Rig, path: str, rows: Any) -> None:
        super().__init__(made)
        self._path, self._rows = path, rows

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().send(request, *args, **kwargs)
        if self._path in str(request.url):
            answer = response.json()
            answer["result"] = self._rows(answer["result"])
            response._content = json.dumps(answer).encode()
        return response


@pytest.mark.failure(1)
@pytest.mark.failure(2)
@pytest.mark.failure(3)
@pytest.mark.parametrize(
    "rows",
    [
        lambda result: result | {"list": "none"},
        lambda result: result | {"list": ["none"]},
        lambda result: result | {"list": {"a": 1}},
        lambda result: result | {"list": [None]},
        lambda _: [],
        lambda _: None,
        lambda _: "none",
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/v5/position/list", "/v5/order/realtime", "/v5/execution/list", "/v5/account/wallet-balance",
     "/v5/account/transaction-log"],
)  # fmt: skip
def test_a_list_of_something_else_is_unknown(tmp_path: Path, path: str, rows: Any) -> None:
    with rig(tmp_path) as made:
        protected(made)
        before = made.trade
        made.gateway._clerk._venue._local.client.client.mount("http://rig", Answering(made, path, rows))
        made.run(25)
        assert made.trade is before
        assert before is not None
        assert before.open == before.size
        if "account" in path:
            assert made.heard(EquityRead)[-1].equity is None
            assert made.core.state.risk.killed is None
        else:
            assert not made.heard(VenueState)[-1].ready
            assert made.said(Decided)[-1].reason.startswith("venue not ready")
            if "position" in path:
                assert {event.position for event in made.heard(PositionRead)} <= {None, 0, before.open}
        assert not made.closed()


SECRET_TEXT = "error sign! origin_string[1700000000000the-key5000category=linear], secret the-secret"


def test_what_the_venue_repeats_of_a_key_is_masked(tmp_path: Path) -> None:
    """Bybit's answer to a wrong signature repeats what was signed, and the key is part of that."""
    with rig(tmp_path) as made:
        made.fault("ret-code", on="*", code=10004, message=SECRET_TEXT)
        venue = VenueClient("http://rig", "the-key", "the-secret", adapter=lambda: Wire(made))
        with pytest.raises(VenueUnavailable, match="error sign!") as read:
            venue.read("get_account_info")
        with pytest.raises(OrderRejected, match="error sign!") as written:
            venue.write("set_leverage", category="linear", symbol=SYMBOL, buyLeverage="1", sellLeverage="1")
        made.mend()
        made.fault("ret-code", on="*", code=10016, message=SECRET_TEXT)
        with pytest.raises(OutcomeUnknown) as unknown:
            venue.write("set_leverage", category="linear", symbol=SYMBOL, buyLeverage="1", sellLeverage="1")
        for caught in (read, written, unknown):
            error: BaseException | None = caught.value
            while error is not None:
                assert "the-key" not in f"{error} {error!r}"
                assert "the-secret" not in f"{error} {error!r}"
                # What caused it is in every traceback that is printed.
                error = error.__cause__ or error.__context__


def test_nor_does_a_secret_reach_journal_or_status(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.run(3)
        secret = made.exchange.api_secret
        made.fault("ret-code", on="*", code=10004, message=f"error sign! origin_string[1700000000000{secret}5000]")
        made.run(30)
        told = json.dumps(status_values(made.session, mode="live", running=True, number=1)) + "".join(made.lines)
        assert "error sign!" in told
        assert secret not in told
        made.journal.close()
        assert secret.encode() not in b"".join(path.read_bytes() for path in made.folder.iterdir())


async def test_a_refused_sign_in_repeats_no_key() -> None:
    stream = PrivateStream("ws://nowhere", "the-key", "the-secret")
    said = await stream._on_frame(None, {"op": "auth", "success": False, "ret_msg": SECRET_TEXT})  # type: ignore[arg-type]
    assert said.startswith("private stream: auth refused (error sign!")
    assert "the-key" not in said
    assert "the-secret" not in said
