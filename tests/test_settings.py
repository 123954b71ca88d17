"""Settings: what a person may write, and what is refused with the key's name."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

import settings
from market.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    file = folder / "purplesky.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_file_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, '[risk]\nmax_drawdown = "0.2"\nmax_leverage = "2"\n')
    monkeypatch.setenv("PURPLESKY_RISK__MAX_DRAWDOWN", "0.3")
    loaded = settings.load(file)
    assert loaded.risk.max_drawdown == Decimal("0.3")
    assert loaded.risk.max_leverage == Decimal(2)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[risk]\nmax_drawdwon = 0.1", "risk.max_drawdwon is not a setting"),
        ("[risc]\nmax_drawdown = 0.1", "risc is not a setting"),
        ("[risk]\nmax_drawdown = 1.5", "risk.max_drawdown is impossible"),
        ("[risk]\nmax_spread_bps = nan", "risk.max_spread_bps is impossible"),
        ('[training]\ntimeframe = "7m"', "training.timeframe is impossible"),
        ('[market]\nsymbols = ["btc/usdt"]', "market.symbols.0 is impossible"),
        ('[secrets]\nbybit_api_key = "k"', "section [secrets]"),
        ("[risk\n", "is not TOML"),
    ],
)
def test_refused_with_the_keys_name(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match="^.*" + key.replace("[", r"\[").replace("]", r"\]")):
        settings.load(write(tmp_path, text))


def test_unknown_environment_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURPLESKY_RISK__MAX_FOO", "1")
    with pytest.raises(ConfigError, match=r"risk\.max_foo is not a setting"):
        settings.load(write(tmp_path, ""))


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config"):
        settings.load(tmp_path / "nowhere.toml")


def test_secrets_never_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYBIT_API_KEY", "very-secret-key")
    loaded = settings.load(write(tmp_path, ""))
    assert loaded.secrets.bybit_api_key is not None
    assert loaded.secrets.bybit_api_key.get_secret_value() == "very-secret-key"
    assert "very-secret-key" not in settings.to_toml(loaded) + repr(loaded) + str(loaded)


def test_effective_settings_load_again(tmp_path: Path) -> None:
    loaded = settings.override(settings.Settings(), training={"trials": 12}, market={"symbols": ("ABCUSDT",)})
    assert settings.load(write(tmp_path, settings.to_toml(loaded))) == loaded


def test_override_refuses_and_keeps(tmp_path: Path) -> None:
    base = settings.Settings()
    assert settings.override(base, training={"trials": None}) == base
    with pytest.raises(ConfigError, match=r"training\.trials is impossible"):
        settings.override(base, training={"trials": -1})


@pytest.mark.parametrize(("text", "length"), [("15s", 15_000), ("5m", 300_000), ("4h", 14_400_000)])
def test_timeframe(text: str, length: int) -> None:
    assert settings.timeframe_ms(text) == length


@pytest.mark.parametrize("text", ["", "0m", "5", "m", "7m", "1d", "-5m"])
def test_impossible_timeframe(text: str) -> None:
    with pytest.raises(ConfigError):
        settings.timeframe_ms(text)
