"""Bybit v5 public WebSocket frames, typed.

Fields that Bybit adds later are not read, and :func:`new_fields` names them; a field that is missing or of another type
is a :class:`FrameError`, never a default. Only what the lake keeps is read.

References
----------
https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook, ``…/trade``, ``…/ticker``, ``…/all-liquidation``
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from market.errors import FrameError

Positive = Annotated[int, Meta(gt=0, le=1 << 53)]
Number = Annotated[int, Meta(ge=-1, le=1 << 53)]


class BookData(Struct, gc=False):
    """``data`` of an order-book frame: bids ``b`` and asks ``a`` as ``(price, size)`` strings."""

    s: str
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    u: Positive
    seq: Number = -1


class BookFrame(Struct, gc=False):
    """``orderbook.{depth}.{symbol}``; ``ts``: sent by the system, ``cts``: made by the matching engine (ms)."""

    topic: str
    type: Literal["snapshot", "delta"]
    ts: Positive
    data: BookData
    cts: Positive

    @property
    def is_snapshot(self) -> bool:
        """Whether the frame replaces the book; Bybit documents ``u == 1`` as such after a restart of its service."""
        return self.type == "snapshot" or self.data.u == 1


class Trade(Struct, gc=False):
    """One trade: time ``T`` (ms), taker side ``S``, size ``v``, price ``p``, id ``i``."""

    T: Positive
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str
    i: str
    seq: Number = -1


class TradeFrame(Struct, gc=False):
    """``publicTrade.{symbol}``."""

    topic: str
    ts: Positive
    data: list[Trade]


class Liquidation(Struct, gc=False):
    """One liquidation: time ``T`` (ms), side ``S`` of the position, size ``v``, bankruptcy price ``p``."""

    T: Positive
    s: str
    S: Literal["Buy", "Sell"]
    v: str
    p: str


class LiquidationFrame(Struct, gc=False):
    """``allLiquidation.{symbol}``."""

    topic: str
    ts: Positive
    data: list[Liquidation]


class TickerData(Struct, gc=False, rename="camel"):
    """``data`` of a ticker frame. In a delta only what changed is there: ``None`` means unchanged."""

    symbol: str
    last_price: str | None = None
    mark_price: str | None = None
    index_price: str | None = None
    open_interest: str | None = None
    funding_rate: str | None = None
    next_funding_time: str | None = None


class TickerFrame(Struct, gc=False):
    """``tickers.{symbol}``."""

    topic: str
    type: Literal["snapshot", "delta"]
    ts: Positive
    data: TickerData
    cs: Number = -1


class ControlFrame(Struct, gc=False):
    """Answer to a subscription or a ping, or an error."""

    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""


class OtherFrame(Struct, gc=False):
    """A topic that is not recorded, for example ``kline``."""

    topic: str


Frame = BookFrame | TradeFrame | TickerFrame | LiquidationFrame | ControlFrame | OtherFrame


class _Envelope(Struct, gc=False):
    topic: str = ""
    op: str | None = None
    success: bool | None = None
    inner: msgspec.Raw = field(default=msgspec.Raw(b""), name="data")


_envelope = msgspec.json.Decoder(_Envelope)
_control = msgspec.json.Decoder(ControlFrame)
_decoders: dict[
    bytes,
    msgspec.json.Decoder[BookFrame]
    | msgspec.json.Decoder[TradeFrame]
    | msgspec.json.Decoder[TickerFrame]
    | msgspec.json.Decoder[LiquidationFrame],
] = {
    b"orderbook": msgspec.json.Decoder(BookFrame),
    b"publicTrade": msgspec.json.Decoder(TradeFrame),
    b"tickers": msgspec.json.Decoder(TickerFrame),
    b"allLiquidation": msgspec.json.Decoder(LiquidationFrame),
}
#: How Bybit begins every data frame.
TOPIC_PREFIX = b'{"topic":"'


def decode(data: bytes) -> Frame:
    """Decode one frame.

    Raises
    ------
    FrameError
        Not JSON, or a documented field is missing or mistyped, or the topic and the symbol inside disagree.
    """
    try:
        kind = data[len(TOPIC_PREFIX) : data.index(b".", len(TOPIC_PREFIX))] if data.startswith(TOPIC_PREFIX) else b""
        decoder = _decoders.get(kind)
        if decoder is None:
            envelope = _envelope.decode(data)
            if not envelope.topic:
                return _decode_control(data, envelope)
            decoder = _decoders.get(envelope.topic.partition(".")[0].encode())
            if decoder is None:
                return OtherFrame(envelope.topic)
        frame = decoder.decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise FrameError(f"frame {_excerpt(data)} cannot be read ({error})", advice=_ADVICE) from error
    _check_symbol(frame)
    return frame


#: Fields that Bybit documents: of the frame, and of its ``data`` or each element of it.
_BOOK_FIELDS = frozenset({"s", "b", "a", "u", "seq"})
_TRADE_FIELDS = frozenset({"T", "s", "S", "v", "p", "L", "i", "BT", "RPI", "seq", "mP", "iP", "mIv", "iv"})
_LIQUIDATION_FIELDS = frozenset({"T", "s", "S", "v", "p"})
_TICKER_FIELDS = frozenset(
    {
        "symbol",
        "tickDirection",
        "price24hPcnt",
        "lastPrice",
        "prevPrice24h",
        "highPrice24h",
        "lowPrice24h",
        "prevPrice1h",
        "markPrice",
        "indexPrice",
        "openInterest",
        "openInterestValue",
        "turnover24h",
        "volume24h",
        "nextFundingTime",
        "fundingRate",
        "bid1Price",
        "bid1Size",
        "ask1Price",
        "ask1Size",
        "deliveryTime",
        "basisRate",
        "basisRateYear",
        "deliveryFeeRate",
        "predictedDeliveryPrice",
        "basis",
        "preOpenPrice",
        "preQty",
        "curPreListingPhase",
        "fundingIntervalHour",
        "fundingCap",
        "preIEPStatus",
        "singleOpenInterest",
        "singleOpenInterestValue",
    }
)
_DOCUMENTED: dict[bytes, tuple[frozenset[str], frozenset[str]]] = {
    b"orderbook": (frozenset({"topic", "type", "ts", "data", "cts"}), _BOOK_FIELDS),
    b"publicTrade": (frozenset({"topic", "type", "ts", "data", "id"}), _TRADE_FIELDS),
    b"tickers": (frozenset({"topic", "type", "ts", "data", "cs"}), _TICKER_FIELDS),
    b"allLiquidation": (frozenset({"topic", "type", "ts", "data"}), _LIQUIDATION_FIELDS),
}


def new_fields(data: bytes) -> tuple[str, ...]:
    """Fields of a data frame that Bybit did not document when this was written, like ``orderbook data.x``.

    It reads the whole frame again: ask it now and then.
    """
    try:
        frame = msgspec.json.decode(data, type=dict[str, object])
    except msgspec.DecodeError:
        return ()
    kind = str(frame.get("topic", "")).partition(".")[0]
    documented = _DOCUMENTED.get(kind.encode())
    if documented is None:
        return ()
    inner = frame.get("data")
    rows = inner if isinstance(inner, list) else [inner]
    keys = {key for row in rows if isinstance(row, dict) for key in row}
    found = [f"{kind} {key}" for key in frame.keys() - documented[0]]
    return tuple(sorted(found + [f"{kind} data.{key}" for key in keys - documented[1]]))


def _decode_control(data: bytes, envelope: _Envelope) -> ControlFrame:
    if envelope.op is None and envelope.success is None:
        raise FrameError(f"frame {_excerpt(data)} has neither topic nor op", advice=_ADVICE)
    return _control.decode(data)


def _check_symbol(frame: BookFrame | TradeFrame | TickerFrame | LiquidationFrame) -> None:
    symbol = frame.topic.rpartition(".")[2]
    if isinstance(frame, BookFrame):
        good = frame.data.s == symbol
    elif isinstance(frame, TradeFrame | LiquidationFrame):
        good = all(one.s == symbol for one in frame.data)
    else:
        good = frame.data.symbol == symbol
    if not good:
        raise FrameError(f"frame of topic {frame.topic} carries another symbol", advice=_ADVICE)


def _excerpt(data: bytes) -> str:
    text = data[:80].decode("utf-8", "backslashreplace")
    return f"{text!r}…" if len(data) > 80 else repr(text)


_ADVICE = "The stream goes on without it; report it if it comes back, Bybit may have changed the format"
