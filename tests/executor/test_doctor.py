"""The doctor against the local exchange: what is well, and each thing that can be wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import SecretStr

import settings as configuration
from commands.trading import doctor
from executor.doctor import Finding, examine, exit_code, line
from executor.journal import FILE, Journal
from executor.status import folder_of
from settings import Secrets, Settings
from simulation import LocalExchange
from tests.executor.test_daemon import make_settings, register


@pytest.fixture
async def exchange() -> AsyncIterator[LocalExchange]:
    async with LocalExchange(seed=3, speed=60) as served:
        yield served


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], Path]) -> Path:
    """A folder whose registry has a council in Production that failed its gate."""
    folder = tmp_path_factory.mktemp("shelf")
    settings = make_settings(folder)
    empty_registry(settings.paths.mlruns)
    register(settings, folder, sign=1)
    return settings.paths.mlruns


def with_keys(settings: Settings, exchange: LocalExchange, secret: str | None = None) -> Settings:
    keys = Secrets(bybit_api_key=SecretStr(exchange.api_key), bybit_api_secret=SecretStr(secret or exchange.api_secret))
    return settings.model_copy(update={"secrets": keys})


async def look(settings: Settings, *, live: bool = False) -> dict[str, Finding]:
    found = await asyncio.to_thread(lambda: list(examine(settings, "SYNUSDT", live=live)))
    return {finding.name: finding for finding in found}


async def test_all_that_trading_needs_is_looked_at(exchange: LocalExchange, shelf: Path, tmp_path: Path) -> None:
    paths: dict[str, Any] = {"data": tmp_path / "data", "mlruns": shelf}
    settings = with_keys(make_settings(tmp_path, exchange, paths=paths), exchange)
    Journal(folder_of(settings, "SYNUSDT", "live")).close()
    found = await look(settings)
    states = {name: finding.state for name, finding in found.items()}
    assert states == {
        "keys": "ok",
        "API key": "ok",
        "clock": "ok",
        "account": "ok",
        "position mode": "ok",
        "leverage": found["leverage"].state,
        "fees": "ok",
        "instrument": "ok",
        "feed": "ok",
        "registry": "warn",
        "lake": "warn",
        "disk": found["disk"].state,
        "journal (live)": "ok",
        "notifications": "warn",
    }
    assert "may not withdraw" in found["API key"].text
    assert "its gate did not pass" in found["registry"].text
    assert all(finding.advice for finding in found.values() if finding.state != "ok")
    said = "\n".join(map(line, found.values()))
    assert exchange.api_secret not in said
    strict = await look(settings, live=True)
    assert strict["registry"].state == "fail"
    assert exit_code(list(strict.values())) == 2


async def test_what_is_wrong_is_named_with_advice(exchange: LocalExchange, shelf: Path, tmp_path: Path) -> None:
    folder = folder_of(make_settings(tmp_path), "SYNUSDT", "dry-run")
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"this is no database" * 100)
    settings = make_settings(
        tmp_path,
        exchange,
        costs={"taker_fee": "0.0004"},
        mlflow={"uri": "http://127.0.0.1:9"},
        risk={"max_leverage": 50},
        market={"ob_levels": 50, "idle_seconds": 1.0},
        venue={"rest_url": exchange.rest_url, "public_url": "ws://127.0.0.1:9/", "speed": 60.0},
    )
    found = await look(with_keys(settings, exchange))
    assert found["fees"].state == "warn"
    assert "costs.taker_fee = 0.00055" in found["fees"].advice
    assert "train again" in found["fees"].advice
    assert found["leverage"].state == "warn"
    assert found["registry"].state == "fail"
    assert found["feed"].state == "fail"
    assert found["journal (dry-run)"].state == "fail"
    wrong = await look(with_keys(settings, exchange, "another-secret"))
    assert [wrong[name].state for name in ("API key", "account", "position mode", "leverage", "fees")] == ["fail"] * 5
    assert "another-secret" not in "\n".join(map(line, wrong.values()))


async def test_without_keys_only_dry_run_is_possible(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, market={"ob_levels": 50, "idle_seconds": 0.5})
    found = await look(settings)
    assert found["keys"].state == "warn"
    assert found["instrument"].state == "fail"
    assert (await look(settings, live=True))["keys"].state == "fail"


def test_a_key_that_may_withdraw(monkeypatch: pytest.MonkeyPatch) -> None:
    from executor import account

    allowed = {"ContractTrade": ["Order", "Position"], "Wallet": ["AccountTransfer", "Withdraw"]}
    ok, text = account._permissions({"permissions": allowed, "readOnly": 0})
    assert not ok
    assert "may withdraw" in text


def test_exit_codes() -> None:
    well, odd, ill = (Finding("x", state, "") for state in ("ok", "warn", "fail"))
    assert [exit_code(found) for found in ([well], [well, odd], [odd, ill])] == [0, 1, 2]


def test_the_command_prints_and_ends_with_the_code(tmp_path: Path) -> None:
    config = tmp_path / "purplesky.toml"
    settings = make_settings(tmp_path, market={"ob_levels": 50, "idle_seconds": 0.5})
    config.write_text(configuration.to_toml(settings), encoding="utf-8")
    result = CliRunner().invoke(doctor, ["--symbol", "SYNUSDT"], obj=config)
    assert result.exit_code == 2
    assert "fail  instrument: " in result.output
    assert "ok    journal: none yet" in result.output
