"""cryptofeed's Bybit feed on a local stream; run by the peers' interpreter: ``_cryptofeed_peer.py URL MESSAGES``.

Prints the processor seconds between the first book and the last.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.connection import WebsocketEndpoint
from cryptofeed.defines import L2_BOOK
from cryptofeed.exchanges import Bybit
from cryptofeed.symbols import Symbols


class LocalBybit(Bybit):
    """Its Bybit feed, whose addresses must begin with ``wss``, brought to a local one."""

    url = ""

    def connect(self) -> Any:
        connections = super().connect()
        for connection, *_ in connections:
            connection.address = self.url
        return connections


def main(url: str, messages: int) -> None:
    # What it would ask Bybit's REST API for, and where it would connect: only the local stream is used.
    Symbols.set("BYBIT", {"BTC-USDT-PERP": "BTCUSDT"}, {"instrument_type": {"BTC-USDT-PERP": "perpetual"}})
    LocalBybit.url = url
    LocalBybit.websocket_endpoints = [WebsocketEndpoint("wss://127.0.0.1", options={"compression": None})]
    LocalBybit.rest_endpoints = []
    seen, started = 0, 0.0

    async def take(book: Any, receipt_timestamp: float) -> None:
        nonlocal seen, started
        seen += 1
        if seen == 1:
            started = time.process_time()
        if seen == messages:
            print(time.process_time() - started, flush=True)
            os._exit(0)  # it would go on for ever

    handler = FeedHandler(config={"log": {"disabled": True}, "uvloop": False})
    handler.add_feed(LocalBybit(symbols=["BTC-USDT-PERP"], channels=[L2_BOOK], callbacks={L2_BOOK: take}))
    handler.run(install_signal_handlers=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
