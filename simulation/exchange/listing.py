"""One listed contract: its market, its public topics, and what REST tells about it."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from market.instruments import Instrument
from simulation import _lob
from simulation.exchange._encode import FRAME_BYTES, LEVEL_BYTES, TRADE_BYTES, encode, new_style
from simulation.exchange.candles import filled, joined
from simulation.exchange.numbers import Numbers
from simulation.exchange.rules import PRICE_BAND as PRICE_BAND
from simulation.listed import ListedMarket

#: Depth of a book topic and milliseconds between its pushes, as Bybit documents for linear contracts.
DEPTHS = {50: 20, 200: 100, 1000: 200, 1: 10}
_FEED_OF = {depth: feed for feed, depth in enumerate(DEPTHS)}
#: Feed number of trades in a :class:`Flush`.
TRADES = _lob.FEEDS
_RECENT = 1_000


class Flush:
    """Encoded public frames of one symbol, in order, ready to be written to sockets."""

    __slots__ = ("data", "ends", "feeds")

    def __init__(self, data: NDArray[np.uint8], feeds: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self.data, self.feeds, self.ends = data, feeds, ends

    def pick(self, wanted: NDArray[np.bool_]) -> bytes:
        """The bytes of the frames of some feeds."""
        chosen = wanted[self.feeds]
        if chosen.all():
            return self.data.tobytes()
        starts = np.concatenate(([0], self.ends[:-1]))
        return b"".join(self.data[starts[k] : self.ends[k]].tobytes() for k in np.flatnonzero(chosen))


class Listing:
    """A contract that is traded here.

    Parameters
    ----------
    market
        Synthetic or replayed.
    instrument
        Contract rules.

    Attributes
    ----------
    traded
        Steps that have been traded.
    """

    def __init__(self, market: ListedMarket, instrument: Instrument) -> None:
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.numbers = Numbers(instrument)
        self.market = market
        self.traded = 0
        topics = {feed: f"orderbook.{depth}.{self.symbol}" for depth, feed in _FEED_OF.items()}
        topics[TRADES] = f"publicTrade.{self.symbol}"
        self.feed_of = {topic: feed for feed, topic in topics.items()}
        numbers = self.numbers
        digits = (numbers.price_digits, numbers.size_digits, numbers.price_units, numbers.size_units)
        self._style = new_style(self.symbol, topics, digits, best=_FEED_OF[1])
        self._users = dict.fromkeys(topics, 0)
        self.trades: deque[list[int]] = deque(maxlen=_RECENT)
        encode(self.market.lob.rows[:0], *self._style, *(np.empty(1, kind) for kind in (np.uint8, np.int64, np.int64)))
        self.market.top(0, 1)  # both compile now rather than while the market runs

    # -- prices -------------------------------------------------------------------------------------------------------

    @property
    def best_bid(self) -> int | None:
        """Best bid, ticks."""
        price = int(self.market.lob.i[_lob.BEST_BID])
        return price if price != _lob.NO_BID else None

    @property
    def best_ask(self) -> int | None:
        """Best ask, ticks."""
        price = int(self.market.lob.i[_lob.BEST_ASK])
        return price if price != _lob.NO_ASK else None

    @property
    def last_ticks(self) -> int:
        """Last traded price, ticks; the index before the first trade."""
        last = int(self.market.lob.i[_lob.LAST])
        return last if last > 0 else self.index_ticks

    @property
    def index_ticks(self) -> int:
        """Index price: what the contract is worth elsewhere."""
        return self.market.index_ticks

    @property
    def mark_ticks(self) -> int:
        """Mark price: a recorded venue's own, or the median of best bid, best ask and index."""
        told = self.market.told.mark_ticks
        if told is not None:
            return told
        index = self.index_ticks
        bid, ask = self.best_bid, self.best_ask
        return sorted((index if bid is None else bid, index, index if ask is None else ask))[1]

    @property
    def seq(self) -> int:
        """Cross sequence."""
        return int(self.market.lob.i[_lob.VERSION])

    def impact_ticks(self, side: int, notional: Decimal) -> Decimal | None:
        """Average price at which a taker of a side would trade so many USDT; ``None`` without a book that deep."""
        wanted = notional / self.numbers.usdt(1)
        left: Decimal = wanted
        value = Decimal(0)
        for price, size in zip(*(column.tolist() for column in self.market.top(1 - side, 200))):
            taken = min(left, Decimal(price * size))
            left -= taken
            value += taken / price
            if left <= 0:
                return Decimal(wanted / value)
        return None

    # -- topics -------------------------------------------------------------------------------------------------------

    def join(self, feed: int) -> bytes | None:
        """Count a subscriber in; the frame to send it at once, if the topic is running already."""
        self._users[feed] += 1
        if feed == TRADES:
            return None
        if self._users[feed] == 1:
            depth = next(depth for depth, number in _FEED_OF.items() if number == feed)
            self.market.open_feed(feed, depth, DEPTHS[depth])
            return None
        return self._shown(feed)

    def leave(self, feed: int) -> None:
        """Count a subscriber out."""
        self._users[feed] -= 1
        if feed != TRADES and self._users[feed] == 0:
            self.market.close_feed(feed)

    @property
    def watched(self) -> bool:
        """Whether anybody subscribes to a topic of this contract."""
        return any(self._users.values())

    def _shown(self, feed: int) -> bytes | None:
        """A snapshot of what the topic has published so far: the next delta continues it."""
        lob = self.market.lob
        shown = self.market.shown(feed)
        if shown is None:
            return None
        sides = [
            ",".join(f'["{self.numbers.price(p)}","{self.numbers.size(s)}"]' for p, s in zip(prices, sizes))
            for prices, sizes in shown
        ]
        topic = next(topic for topic, number in self.feed_of.items() if number == feed)
        now = f'"ts":{self.market.now_ms}'
        # Bybit writes the time of the one-level topic before its type.
        head = f'{now},"type":"snapshot"' if feed == _FEED_OF[1] else f'"type":"snapshot",{now}'
        return (
            f'{{"topic":"{topic}",{head},"data":{{"s":"{self.symbol}","b":[{sides[0]}],'
            f'"a":[{sides[1]}],"u":{lob.feed[feed, _lob.F_U]},"seq":{lob.feed[feed, _lob.F_VERSION]}}},'
            f'"cts":{lob.i[_lob.BOOK_MS]}}}'
        ).encode()

    def collect(self) -> Flush | None:
        """Take the market's waiting rows as frames; ``None`` where there are none or nobody wants them."""
        market = self.market
        rows = market.rows
        if rows == 0:
            return None
        block = market.lob.rows[:rows]
        traded = block[block[:, _lob.R_FEED] == _lob.TRADE_FEED]
        self.trades.extend(traded[-_RECENT:].tolist())
        self.traded += int(traded[:, _lob.R_SIZE].sum())
        flush = self._encode(block, len(traded)) if self.watched else None
        market.clear_rows()
        return flush

    def _encode(self, rows: NDArray[np.int64], trades: int) -> Flush:
        frames = int(rows[-1, _lob.R_FRAME] - rows[0, _lob.R_FRAME]) + 1
        out = np.empty(len(rows) * LEVEL_BYTES + trades * TRADE_BYTES + frames * FRAME_BYTES, np.uint8)
        feeds, ends = np.empty(frames, np.int64), np.empty(frames, np.int64)
        count = encode(rows, *self._style, out, feeds, ends)
        return Flush(out[: ends[count - 1]], feeds[:count], ends[:count])

    # -- REST ---------------------------------------------------------------------------------------------------------

    def book(self, limit: int) -> dict[str, Any]:
        """The result of ``GET /v5/market/orderbook``; its update id is that of the 1000-level topic."""
        price, size = self.numbers.price, self.numbers.size
        sides = [
            [[price(p), size(s)] for p, s in zip(*(column.tolist() for column in self.market.top(side, limit)))]
            for side in (0, 1)
        ]
        lob = self.market.lob
        return {
            "s": self.symbol,
            "b": sides[0],
            "a": sides[1],
            "ts": self.market.now_ms,
            "u": max(int(lob.feed[_FEED_OF[1000], _lob.F_U]), 1),
            "seq": self.seq,
            "cts": int(lob.i[_lob.BOOK_MS]),
        }

    def recent(self, limit: int) -> list[dict[str, Any]]:
        """The elements of ``GET /v5/market/recent-trade``, newest first."""
        return [
            {
                "execId": trade_id(row[_lob.R_ID]),
                "symbol": self.symbol,
                "price": self.numbers.price(row[_lob.R_PRICE]),
                "size": self.numbers.size(row[_lob.R_SIZE]),
                "side": "Sell" if row[_lob.R_SIDE] else "Buy",
                "time": str(row[_lob.R_TIME]),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(row[_lob.R_SEQ]),
            }
            for row in list(self.trades)[: -limit - 1 : -1]
        ]

    def candles(self) -> NDArray[np.int64]:
        """Minutes with trades in them, oldest first: columns as in :mod:`simulation.exchange.candles`."""
        rows = self.market.lob.candles
        kept = rows[rows[:, _lob.C_MINUTE] > 0]
        ordered: NDArray[np.int64] = kept[np.argsort(kept[:, _lob.C_MINUTE])]
        return ordered

    def bars(self, interval: str, since_ms: int = 0) -> NDArray[np.int64]:
        """Candles of an interval since a time, quiet ones included; only what the market has lived through."""
        minutes = self.candles()
        first = int(np.searchsorted(minutes[:, 0], since_ms // 60_000, side="right")) - 1
        return joined(filled(minutes[max(first, 0) :], self.market.now_ms), interval)


def trade_id(number: int) -> str:
    """A trade's id: a UUID whose last group counts."""
    return f"00000000-0000-5000-8000-{number:012x}"
