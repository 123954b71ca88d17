"""Contract rules over REST, through pybit, from a real HTTP server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from market import fetch_instruments, read_instruments
from market.errors import DataError, UnknownSymbolError, VenueUnavailable
from market.instruments import Instrument


def row(symbol: str) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "leverageFilter": {"maxLeverage": "100.00"},
        "priceFilter": {"tickSize": "0.10"},
        "lotSizeFilter": {
            "qtyStep": "0.001",
            "minOrderQty": "0.001",
            "maxOrderQty": "100",
            "maxMktOrderQty": "50",
            "minNotionalValue": "5",
        },
        "fundingInterval": 480,
    }


async def fetch(answer: Any, *symbols: str, status: int = 200) -> dict[str, Instrument]:
    """Ask a server that answers with `answer`, one item a page."""

    async def serve(request: web.Request) -> web.Response:
        assert request.query["category"] == "linear"
        if isinstance(answer, str):
            return web.Response(text=answer, status=status)
        page = int(request.query.get("cursor", "0"))
        cursor = str(page + 1) if page + 1 < len(answer) else ""
        body = {"retCode": 0, "retMsg": "OK", "result": {"list": answer[page : page + 1], "nextPageCursor": cursor}}
        return web.json_response(body)

    app = web.Application()
    app.router.add_get("/v5/market/instruments-info", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        return await asyncio.to_thread(fetch_instruments, url, list(symbols) or None, timeout=5)
    finally:
        await runner.cleanup()


async def test_all_pages_are_read() -> None:
    found = await fetch([row("AUSDT"), row("BUSDT"), row("CUSDT")])
    assert list(found) == ["AUSDT", "BUSDT", "CUSDT"]
    assert found["BUSDT"].min_steps == 1
    assert list(await fetch([row("AUSDT"), row("BUSDT")], "BUSDT")) == ["BUSDT"]


async def test_a_symbol_that_is_not_listed() -> None:
    with pytest.raises(UnknownSymbolError, match=r"lists no XUSDT \(it lists: AUSDT\)"):
        await fetch([row("AUSDT")], "XUSDT")


@pytest.mark.parametrize(
    "answer", ["<html>", "{}", '{"retCode":0}', '{"retCode":10006,"retMsg":"slow down","result":{}}']
)
async def test_no_answer_is_not_an_empty_one(answer: str) -> None:
    with pytest.raises(VenueUnavailable, match="gives no contract rules"):
        await fetch(answer)


async def test_an_error_status() -> None:
    with pytest.raises(VenueUnavailable):
        await fetch("no", status=503)


def test_nobody_there() -> None:
    with pytest.raises(VenueUnavailable):
        fetch_instruments("http://127.0.0.1:9", timeout=1)


async def test_rules_that_cannot_be_read() -> None:
    with pytest.raises(DataError, match="instrument rules of AUSDT"):
        await fetch([row("AUSDT") | {"priceFilter": {"tickSize": "0"}}])


def test_a_saved_answer(tmp_path: Path) -> None:
    path = tmp_path / "instruments-info.json"
    path.write_text(json.dumps({"result": {"list": [row("AUSDT")]}}))
    assert list(read_instruments(path)) == ["AUSDT"]
    path.write_text("{}")
    with pytest.raises(DataError, match="is not an instruments-info answer"):
        read_instruments(path)
