"""``purplesky doctor``: everything that trading needs, looked at once, each with what to do about it. Changes nothing.

What it cannot find out is never well. The only thing that it leaves behind is the council in the executor's cache.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from council.registry import Registry
from executor.account import account_checks, keys_of, venue_client
from executor.build import council_store
from executor.journal import FILE
from executor.reader import JournalReader
from executor.registry_watch import RegistryWatch
from executor.status import MODES, folder_of
from executor.venue import VenueClient
from market.errors import ConfigError, LakeError, PurpleSkyError, RegistryUnavailable
from market.feed import Frame, PublicFeed, topics_for
from market.lake import Lake
from market.rest import fetch_instruments
from settings import Settings

State = Literal["ok", "warn", "fail"]
#: Below so much free disk the doctor warns, and below so much it fails: a day of a busy book takes about 1 GB.
_SCARCE, _FULL = 5_000_000_000, 500_000_000
#: The features are warm from the lake if it ends this recently.
_LAKE_AGE_S = 3_600


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `advice` says what to do, and is empty where all is well."""

    name: str
    state: State
    text: str
    advice: str = ""


def examine(settings: Settings, symbol: str, *, live: bool = False) -> Iterator[Finding]:
    """Look at everything, in the order in which it is needed.

    Parameters
    ----------
    settings
        The effective settings.
    symbol
        Contract.
    live
        Whether live trading is meant: what only that needs is then an error, not a warning.
    """
    yield from _account(settings, symbol, live)
    yield _rules(settings, symbol)
    yield _feed(settings, symbol)
    yield _registry(settings, symbol, live)
    yield _lake(settings, symbol)
    yield _disk(settings)
    yield from _journals(settings, symbol)
    yield _notifications(settings)


def exit_code(findings: list[Finding]) -> int:
    """0 all well, 1 warnings, 2 something that trading cannot do without."""
    states = {finding.state for finding in findings}
    return 2 if "fail" in states else 1 if "warn" in states else 0


def line(finding: Finding) -> str:
    """For people."""
    text = f"{finding.state:<4}  {finding.name}: {finding.text}"
    return f"{text}. {finding.advice}." if finding.advice else text


# --- the account -----------------------------------------------------------------------------------------------------


def _account(settings: Settings, symbol: str, live: bool) -> Iterator[Finding]:
    try:
        keys_of(settings)
    except ConfigError as error:
        if live:
            yield Finding("keys", "fail", error.message, error.advice)
        else:
            yield Finding("keys", "warn", "none in the environment", "Dry-run needs none; live trading does")
        return
    yield Finding("keys", "ok", "in the environment")
    venue = venue_client(settings)
    try:
        for check in account_checks(venue, symbol):
            yield Finding(check.name, "ok" if check.ok else "fail", check.text, "" if check.ok else _MEND[check.name])
        yield _guarded("leverage", lambda: _leverage(settings, venue, symbol))
        yield _guarded("fees", lambda: _fees(settings, venue, symbol))
    finally:
        venue.close()


_MEND = {
    "API key": "Make a key at the venue that may trade contracts and may not withdraw",
    "clock": "Set this machine's clock: enable time synchronisation",
    "account": "Upgrade the account to unified trading, with cross or isolated margin",
    "position mode": "Set it to one-way or hedge at the venue",
}


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """A question without an answer, or with one that makes no sense, is not well."""
    try:
        return look()
    except PurpleSkyError as error:
        return Finding(name, "fail", error.message, error.advice)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        text = f"the venue's answer cannot be read ({type(error).__name__})"
        return Finding(name, "fail", text, "Check that venue.rest_url is Bybit's")


def _leverage(settings: Settings, venue: VenueClient, symbol: str) -> Finding:
    rows = venue.pages("get_positions", category="linear", symbol=symbol)
    lowest = min(Decimal(row["leverage"] or 0) for row in rows)
    wanted = settings.risk.max_leverage
    held = any(Decimal(row["size"] or 0) for row in rows)
    text = f"{lowest.normalize():f}× at the venue, {wanted.normalize():f}× in the settings"
    if lowest == wanted:
        return Finding("leverage", "ok", text)
    if lowest > wanted:
        return Finding("leverage", "ok", f"{text}, which the start of live trading sets while no position is held")
    mend = f"Set it to {wanted.normalize():f} there" if held else "The start of live trading tries to set it"
    return Finding("leverage", "warn", text, f"{mend}, or lower risk.max_leverage: the lower one caps positions")


def _fees(settings: Settings, venue: VenueClient, symbol: str) -> Finding:
    row: dict[str, Any] = venue.read("get_fee_rates", category="linear", symbol=symbol).result["list"][0]
    maker, taker = Decimal(row["makerFeeRate"]), Decimal(row["takerFeeRate"])
    ours = settings.costs
    text = f"maker {maker}, taker {taker}"
    if (maker, taker) == (ours.maker_fee, ours.taker_fee):
        return Finding("fees", "ok", f"{text}, as in the settings")
    text += f"; the settings say {ours.maker_fee} and {ours.taker_fee}"
    worse = maker > ours.maker_fee or taker > ours.taker_fee
    advice = f"Set costs.maker_fee = {maker} and costs.taker_fee = {taker}"
    return Finding("fees", "warn", text, f"{advice}, and train again" if worse else advice)


# --- market and registry ---------------------------------------------------------------------------------------------


def _rules(settings: Settings, symbol: str) -> Finding:
    try:
        rules = fetch_instruments(settings.venue.rest_url, [symbol])[symbol]
    except PurpleSkyError as error:
        return Finding("instrument", "fail", error.message, error.advice)
    text = f"{symbol}: tick {rules.tick_size}, step {rules.qty_step}, smallest order {rules.min_notional} USDT"
    return Finding("instrument", "ok", text)


def _feed(settings: Settings, symbol: str) -> Finding:
    started = time.monotonic()
    try:
        seen = asyncio.run(_book(settings, symbol))
    except PurpleSkyError as error:
        return Finding("feed", "fail", error.message, error.advice)
    if not seen:
        text = f"no order book of {symbol} within {settings.market.idle_seconds:.0f} s"
        return Finding("feed", "fail", text, "Check venue.public_url and the network")
    return Finding("feed", "ok", f"the order book came after {time.monotonic() - started:.1f} s")


async def _book(settings: Settings, symbol: str) -> bool:
    """Whether a frame of the book came in time."""
    topics, patience = topics_for([symbol], settings.market.ob_levels), settings.market.idle_seconds
    feed = PublicFeed(settings.venue.public_url, topics, idle_seconds=patience)
    async with feed:
        try:
            async with asyncio.timeout(patience):
                async for item in feed:
                    if (
                        isinstance(item, Frame)
                        and b'"orderbook.' in item.data[:200]
                        and b'"snapshot"' in item.data[:200]
                    ):
                        return True
        except TimeoutError:
            return False
        finally:
            feed.stop()
    return False


def _registry(settings: Settings, symbol: str, live: bool) -> Finding:
    store = council_store(settings, symbol)
    name = settings.model_name(symbol, settings.executor.timeframe)
    registry = Registry(settings.registry_uri, settings.paths.mlruns / "artifacts")
    try:
        council = RegistryWatch(registry, name, store).look()
    except RegistryUnavailable as error:
        cached = store.cache.is_dir() and any(path.is_dir() for path in store.cache.iterdir())
        advice = "Start it; until then the executor goes on with the council at hand"
        return Finding("registry", "warn" if cached else "fail", error.message, advice if cached else error.advice)
    except PurpleSkyError as error:
        return Finding("registry", "fail", error.message, error.advice)
    text = f"{name} version {council.version} ({council.content_hash[:12]}) is in Production"
    if council.gate_passed:
        return Finding("registry", "ok", f"{text}; its gate passed")
    advice = f"Promote a version that did, or say --accept-failed-gate {council.version}"
    return Finding("registry", "fail" if live else "warn", f"{text}; its gate did not pass", advice)


# --- this machine ----------------------------------------------------------------------------------------------------


def _lake(settings: Settings, symbol: str) -> Finding:
    lake = Lake(settings.paths.lake)
    advice = f"Run: purplesky capture, with {symbol} in market.symbols"
    try:
        if symbol not in lake.symbols():
            return Finding("lake", "warn", f"no {symbol} in {lake.root}: features start cold", advice)
        age_s = time.time() - lake.span_ms(symbol)[1] / 1000
    except LakeError as error:
        return Finding("lake", "warn", f"{error.message}: features start cold", error.advice)
    if age_s > _LAKE_AGE_S:
        return Finding("lake", "warn", f"{symbol} ends {age_s / 3600:.1f} h ago: features start with a hole", advice)
    return Finding("lake", "ok", f"{symbol} is there up to {max(age_s, 0) / 60:.0f} min ago")


def _disk(settings: Settings) -> Finding:
    folder = settings.paths.data.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:.1f} GB free below {settings.paths.data}"
    if free >= _SCARCE:
        return Finding("disk", "ok", text)
    return Finding("disk", "warn" if free >= _FULL else "fail", text, "Free space: a full disk stops entries")


def _journals(settings: Settings, symbol: str) -> Iterator[Finding]:
    folders = [(mode, folder_of(settings, symbol, mode)) for mode in MODES if mode != "lake"]
    there = [(mode, folder) for mode, folder in folders if (folder / FILE).exists()]
    if not there:
        yield Finding("journal", "ok", "none yet: it begins with the first session")
    for mode, folder in there:
        yield _journal(mode, folder)


def _journal(mode: str, folder: Path) -> Finding:
    try:
        reader = JournalReader(folder)
        try:
            verdict = str(reader.query("PRAGMA quick_check(1)")[0][0])
            sessions = len(reader.sessions())
        finally:
            reader.close()
    except PurpleSkyError as error:
        return Finding(f"journal ({mode})", "fail", error.message, error.advice)
    if verdict != "ok":
        advice = "Start the executor: it sets the journal aside and takes the state from a copy"
        return Finding(f"journal ({mode})", "fail", verdict, advice)
    return Finding(f"journal ({mode})", "ok", f"whole, {sessions} sessions")


def _notifications(settings: Settings) -> Finding:
    urls = settings.secrets.notification_urls()
    if not urls:
        return Finding("notifications", "warn", "nowhere to send any", "Set DISCORD_WEBHOOK_URL or NOTIFY_URLS")
    from executor.notify import carrier_of

    try:
        carrier_of(urls)
    except ConfigError as error:
        return Finding("notifications", "fail", error.message, error.advice)
    return Finding("notifications", "ok", f"to {len(urls)} service(s)")
