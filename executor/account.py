"""The account that is traded live: its keys, its lock, what must be true of it before the first order, its gateway."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from executor.lanes import ThreadLanes
from executor.live import LiveGateway
from executor.private import SharedStream
from executor.venue import RECV_WINDOW_MS, VenueClient
from market.errors import ConfigError, ExecutorError, OrderRejected, OutcomeUnknown, VenueUnavailable
from market.instruments import Instrument
from settings import Settings

#: The venue's clock may differ from ours by this share of the window in which it takes a request.
_SKEW_MS = RECV_WINDOW_MS // 5
_ADVICE = "Mend what is named, or run without --live"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must be true before live trading."""

    name: str
    ok: bool
    text: str


def keys_of(settings: Settings) -> tuple[str, str]:
    """Key and secret of the account.

    Raises
    ------
    ConfigError
        They are not in the environment.
    """
    key, secret = settings.secrets.bybit_api_key, settings.secrets.bybit_api_secret
    if key is None or secret is None or not key.get_secret_value() or not secret.get_secret_value():
        raise ConfigError(
            "live trading needs an API key and its secret",
            advice="Put BYBIT_API_KEY and BYBIT_API_SECRET into the environment; never into a file or an argument",
        )
    return key.get_secret_value(), secret.get_secret_value()


def venue_client(settings: Settings) -> VenueClient:
    """Signed REST for the settings' account."""
    return VenueClient(settings.venue.rest_url, *keys_of(settings), timeout_s=settings.executor.request_timeout_s)


def account_lock(settings: Settings, symbol: str) -> Path:
    """Where the lock of this account and symbol lies: one place a machine and user, whatever folders are configured."""
    key, _ = keys_of(settings)
    name = hashlib.sha256(f"{settings.venue.rest_url}|{key}|{symbol}".encode()).hexdigest()[:24]
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"purplesky-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / f"{name}.lock"


def account_checks(venue: VenueClient, symbol: str) -> list[Check]:
    """What the venue says of key, clock and account; a question without an answer is a check that failed."""
    return [
        _checked("API key", lambda: _permissions(venue.read("get_api_key_information").result)),
        _checked("clock", lambda: _clock(venue)),
        _checked("account", lambda: _unified(venue.read("get_account_info").result)),
        _checked("position mode", lambda: _mode(venue, symbol)),
    ]


def require_account(venue: VenueClient, symbol: str) -> list[Check]:
    """The checks, all of them good.

    Raises
    ------
    ExecutorError
        One is not; the message names all that are not.
    """
    checks = account_checks(venue, symbol)
    bad = [f"{check.name}: {check.text}" for check in checks if not check.ok]
    if bad:
        raise ExecutorError("live trading is refused: " + "; ".join(bad), advice=_ADVICE)
    return checks


def settle_leverage(venue: VenueClient, symbol: str, wanted: Decimal) -> tuple[Decimal, Check]:
    """Bring the contract's leverage at the venue to what is wanted, and say what it is then.

    It stays as it is while a position is held: that may be somebody else's. What is in force caps the size of entries.

    Raises
    ------
    ExecutorError
        What is in force cannot be found out.
    """
    text = f"{wanted.normalize():f}"
    found, held = _leverages(venue, symbol)
    why = ""
    if found != {wanted} and held:
        why = "left alone while a position is held"
    elif found != {wanted}:
        try:
            venue.write("set_leverage", category="linear", symbol=symbol, buyLeverage=text, sellLeverage=text)
        except OrderRejected as refusal:
            why = f"the venue refuses {text}: {refusal.code} {refusal.message}"
        except OutcomeUnknown as error:
            why = error.message
        found, _ = _leverages(venue, symbol)
    now = min(found)
    said = f"{now.normalize():f}× at the venue"
    if found == {wanted}:
        return now, Check("leverage", True, said)
    return now, Check("leverage", False, f"{said}, {text}× wanted: {why or 'not taken'}")


def _leverages(venue: VenueClient, symbol: str) -> tuple[set[Decimal], bool]:
    """Leverage of the contract's positions, and whether one of them is held."""
    try:
        rows = venue.pages("get_positions", category="linear", symbol=symbol)
        found = {Decimal(row["leverage"]) for row in rows}
        held = any(Decimal(row["size"]) for row in rows)
    except (VenueUnavailable, KeyError, TypeError, ArithmeticError) as error:
        text = error.message if isinstance(error, VenueUnavailable) else "the venue's answer cannot be read"
        raise ExecutorError(f"live trading is refused: leverage of {symbol}: {text}", advice=_ADVICE) from error
    if not found or min(found) <= 0:
        raise ExecutorError(f"live trading is refused: {symbol} has no leverage at the venue", advice=_ADVICE)
    return found, held


class AccountLink:
    """One client, one private stream and the lanes of an account, for all its contracts in this process."""

    def __init__(self, settings: Settings) -> None:
        self.venue = venue_client(settings)
        self._stream = SharedStream(settings.venue.private_url, *keys_of(settings))
        self._lanes = ThreadLanes()

    def gateway(self, instrument: Instrument, clock: Callable[[], int], saved: bytes | None) -> LiveGateway:
        """The gateway of one contract."""
        lanes = self._lanes.port(instrument.symbol)
        return LiveGateway(self.venue, self._stream.port(), instrument, lanes=lanes, clock=clock, saved=saved)

    async def run(self) -> None:
        """Keep the private stream up until cancelled."""
        await self._stream.run()

    def close(self) -> None:
        """Let go of threads and connections."""
        self._lanes.close()
        self.venue.close()


def _checked(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    try:
        return Check(name, *check())
    except VenueUnavailable as error:
        return Check(name, False, error.message)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        return Check(name, False, f"the venue's answer cannot be read ({type(error).__name__})")


def _permissions(key: dict[str, Any]) -> tuple[bool, str]:
    """Trading allowed, withdrawing not. https://bybit-exchange.github.io/docs/v5/user/apikey-info"""
    permissions: dict[str, list[str]] = key["permissions"]
    if any("withdraw" in one.lower() for given in permissions.values() for one in given):
        return False, "it may withdraw: make one that may not"
    if int(key["readOnly"]) != 0:
        return False, "it may only read"
    missing = {"Order", "Position"} - set(permissions.get("ContractTrade", []))
    if missing:
        return False, f"it lacks the permission for contracts: {', '.join(sorted(missing))}"
    return True, "may trade contracts, may not withdraw"


def _clock(venue: VenueClient) -> tuple[bool, str]:
    before = time.time_ns()
    answer = venue.read("get_server_time").result
    after = time.time_ns()
    skew_ms = (int(answer["timeNano"]) - (before + after) // 2) // 1_000_000
    trip_ms = (after - before) // 1_000_000
    text = f"the venue's clock is {skew_ms:+d} ms from ours, an answer takes {trip_ms} ms"
    return abs(skew_ms) <= _SKEW_MS + trip_ms // 2, text


def _unified(account: dict[str, Any]) -> tuple[bool, str]:
    status = int(account["unifiedMarginStatus"])
    if status < 3:
        return False, "it is no unified trading account"
    if account.get("marginMode") == "PORTFOLIO_MARGIN":
        return False, "portfolio margin is not supported"
    return True, f"unified, {str(account.get('marginMode', 'margin mode unknown')).lower()}"


def _mode(venue: VenueClient, symbol: str) -> tuple[bool, str]:
    rows = venue.pages("get_positions", category="linear", symbol=symbol)
    indexes = {int(row["positionIdx"]) for row in rows}
    if not indexes or not (indexes <= {0} or indexes <= {1, 2}):
        return False, f"cannot be told from positions {sorted(indexes)}"
    return True, "one-way" if indexes == {0} else "hedge"
