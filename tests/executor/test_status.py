"""`purplesky status`: what is not known is said as that, and hides nothing of what is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import purplesky
from executor.status import NeverRanError, folder_of, overview, read_status, status_values, write_status
from market.errors import ExecutorError
from settings import Settings
from tests.executor.stage import Stage, market
from tests.executor.test_daemon import make_settings

RAN, NEW = "SYNUSDT", "BTCUSDT"


@pytest.fixture
def installation(tmp_path: Path) -> Settings:
    """Two contracts are configured, one has been traded."""
    settings = make_settings(tmp_path, market={"symbols": (NEW, RAN), "ob_levels": 50})
    stage = Stage(folder_of(settings, RAN, "dry-run"))
    stage.run(market(20))
    write_status(stage.folder, status_values(stage.session, mode="dry-run", running=False, number=1), print)
    stage.close().close()
    return settings


@pytest.fixture
def command(
    tmp_path: Path, installation: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Types in `purplesky status …`; its exit code and what it says."""
    import settings as configuration

    config = tmp_path / "purplesky.toml"
    config.write_text(configuration.to_toml(installation), encoding="utf-8")

    def typed(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["purplesky", "--config", str(config), "status", *arguments])
        try:
            purplesky.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        told = capsys.readouterr()
        return code, told.out + told.err

    return typed


def test_what_never_ran_is_told_as_that(command: Callable[..., tuple[int, str]]) -> None:
    code, text = command("--all")
    assert code == 0
    assert f"{NEW}  never ran; start it with: purplesky execute --symbol {NEW}" in text
    assert f"{RAN}  dry-run, session 1  not running" in text


def test_a_contract_that_was_asked_for_by_name_and_never_ran_is_an_error(
    command: Callable[..., tuple[int, str]], installation: Settings
) -> None:
    code, text = command("--symbol", NEW)
    assert (code, text.count("error: ")) == (2, 1)
    assert f"has not run on {NEW}" in text
    with pytest.raises(NeverRanError):
        read_status(installation, NEW)


def test_what_ran_beside_the_configured_ones_is_told_too(installation: Settings) -> None:
    import settings as configuration

    other = configuration.override(installation, market={"symbols": (NEW,)})
    texts, whole = overview(other)
    assert [text.split()[0] for text in texts] == [NEW, RAN]
    assert whole


@pytest.mark.failure(38)
@pytest.mark.parametrize("damage", [b"", b"half {", b"[]", b"{}", None])
def test_a_status_that_cannot_be_read_is_unknown_and_hides_no_other(
    command: Callable[..., tuple[int, str]], installation: Settings, damage: bytes | None
) -> None:
    file = folder_of(installation, RAN, "dry-run") / "status.json"
    if damage is None:
        values = json.loads(file.read_text(encoding="utf-8"))
        del values["position"]
        damage = json.dumps(values).encode()
    file.write_bytes(damage)
    code, text = command("--all")
    assert code == 1
    assert f"{RAN}  unknown: " in text
    assert f"{NEW}  never ran" in text
    with pytest.raises(ExecutorError, match="cannot be read"):
        read_status(installation, RAN)
