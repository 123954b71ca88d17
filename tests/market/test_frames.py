"""The typed decoder of public frames."""

from __future__ import annotations

import json
from typing import Any

import pytest

from market.errors import FrameError
from market.frames import BookFrame, ControlFrame, OtherFrame, TickerFrame, TradeFrame, decode
from tests.market.venue import book, snapshot, ticker, trade


def test_kinds() -> None:
    assert isinstance(decode(snapshot(3)), BookFrame)
    assert isinstance(decode(trade((5, "Buy", "1", "2"))), TradeFrame)
    assert isinstance(decode(ticker(5, markPrice="1.5")), TickerFrame)
    assert isinstance(decode(b'{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"","op":"ping"}'), ControlFrame)
    assert decode(b'{"topic":"kline.1.BTCUSDT","data":"anything"}') == OtherFrame("kline.1.BTCUSDT")


def test_unknown_fields_and_another_key_order_are_fine() -> None:
    plain = json.loads(book(5, extra=[1, {"x": None}]))
    turned = {"cts": plain.pop("cts"), **plain}
    assert decode(json.dumps(turned).encode()) == decode(book(5))


def test_u_1_is_a_snapshot_whatever_its_type_says() -> None:
    frame = decode(book(1))
    assert isinstance(frame, BookFrame)
    assert frame.is_snapshot


def _without(frame: bytes, *path: str) -> bytes:
    value = json.loads(frame)
    inner: Any = value
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(value).encode()


def _with(frame: bytes, value: Any, *path: str) -> bytes:
    decoded = json.loads(frame)
    inner: Any = decoded
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(decoded).encode()


@pytest.mark.parametrize("path", [("type",), ("ts",), ("cts",), ("data",), ("data", "u"), ("data", "b"), ("data", "s")])
def test_a_missing_field_is_an_error(path: tuple[str, ...]) -> None:
    with pytest.raises(FrameError, match="cannot be read"):
        decode(_without(book(5), *path))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("5", ("data", "u")),
        (-5, ("data", "u")),
        (0, ("cts",)),
        (2**64, ("data", "u")),
        (2**62, ("data", "seq")),
        ("update", ("type",)),
        ([[100.0, 1.0]], ("data", "b")),
        ([["100.0"]], ("data", "b")),
        ([["100.0", None]], ("data", "a")),
        ("ETHUSDT", ("data", "s")),
    ],
)
def test_a_mistyped_field_is_an_error(value: Any, path: tuple[str, ...]) -> None:
    with pytest.raises(FrameError):
        decode(_with(book(5), value, *path))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"{}", b'{"topic":""}', b"\xff\xfe", b'{"topic":"orderbook', book(5)[:-9]]
)
def test_what_is_no_frame_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        decode(data)


def test_trades_need_a_side_and_their_own_symbol() -> None:
    with pytest.raises(FrameError):
        decode(trade((5, "buy", "1", "2")))
    with pytest.raises(FrameError, match="another symbol"):
        decode(trade((5, "Buy", "1", "2")).replace(b'"s":"BTCUSDT"', b'"s":"ETHUSDT"'))
