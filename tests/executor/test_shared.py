"""What several contracts of an account share on its wires, and how a person names them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import executor.daemon
import purplesky
import settings as configuration
from executor.lanes import ThreadLanes
from executor.notify import Herald, NotifyCounts
from executor.private import Down, Rows, SharedStream, Up
from executor.voices import Voices
from settings import Settings


async def test_every_port_hears_everything_and_a_late_one_how_it_stands() -> None:
    stream = SharedStream("ws://127.0.0.1:9/", "key", "secret")
    first, late = stream.port(), stream.port()
    await first.run()
    stream._put(Up())
    rows = Rows("execution", ({"symbol": "ONEUSDT"},))
    stream._put(rows)
    await late.run()
    stream._put(rows)
    assert list(first.incoming) == [Up(), rows, rows]
    assert list(late.incoming) == [Up(), rows]
    first.close()
    stream._put(Down("by the test"))
    assert not first.incoming
    assert list(late.incoming)[-1] == Down("by the test")
    assert not stream.incoming


def test_one_contract_never_waits_for_another_ones_order() -> None:
    lanes = ThreadLanes()
    one, two = lanes.port("ONEUSDT"), lanes.port("TWOUSDT")
    both = threading.Barrier(2, timeout=60)
    heard: list[str] = []
    # Each call ends only when the other one runs at the same time.
    one.submit("exit", lambda: both.wait() >= 0, lambda _: heard.append("one"))
    two.submit("exit", lambda: both.wait() >= 0, lambda _: heard.append("two"))
    names: list[str] = []
    ended = threading.Event()
    one.submit("money", lambda: names.append(threading.current_thread().name), lambda _: None)
    two.submit("money", lambda: names.append(threading.current_thread().name), lambda _: None)
    two.submit("money", ended.set, lambda _: None)
    assert ended.wait(60)
    assert names[0] == names[1]
    lanes.close()
    while len(heard) < 2:
        for port in (one, two):
            for done in port.finished():
                done()
    assert sorted(heard) == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "symbols"),
    [
        (["--symbol", "ONEUSDT"], ["ONEUSDT"]),
        (["--symbol", "ONEUSDT", "--symbol", "TWOUSDT"], ["ONEUSDT", "TWOUSDT"]),
        (["--symbols", "ONEUSDT,TWOUSDT:SIXUSDT"], ["ONEUSDT", "TWOUSDT", "SIXUSDT"]),
        ([], ["AAAUSDT", "BBBUSDT"]),
    ],
)
def test_contracts_are_named_on_the_command_line_or_in_the_settings(
    arguments: list[str], symbols: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "purplesky.toml"
    config.write_text('[market]\nsymbols = ["AAAUSDT", "BBBUSDT"]\n', encoding="utf-8")
    asked: list[str] = []

    def run(_: Any, names: Any, **options: Any) -> None:
        asked.extend(names)
        assert options["live"] is False

    monkeypatch.setattr(executor.daemon, "run_executors", run)
    result = CliRunner().invoke(purplesky.cli, ["--config", str(config), "execute", *arguments])
    assert result.exit_code == 0, result.output
    assert asked == symbols


def test_commands_for_all_need_somebody_who_ever_ran(tmp_path: Path) -> None:
    config = tmp_path / "purplesky.toml"
    config.write_text(f'[paths]\ndata = "{tmp_path}"\n', encoding="utf-8")
    result = CliRunner().invoke(purplesky.cli, ["--config", str(config), "halt"])
    assert result.exit_code != 0
    assert "the executor has not run" in str(result.exception)


def test_messages_of_several_contracts_say_whose_they_are_and_hide_secrets(tmp_path: Path) -> None:
    heard: list[tuple[str, str, str]] = []

    class Listener(Herald):
        def __init__(self) -> None:
            self.closed = False

        def hear(self, level: str, code: str, text: str) -> None:
            heard.append((level, code, text))

        def close(self, patience_s: float = 5.0) -> bool:
            self.closed = True
            return True

        counts = NotifyCounts()

    settings = configuration.override(
        Settings(), paths={"data": tmp_path}, secrets={"bybit_api_key": "key-that-nobody-sees"}
    )
    herald = Listener()
    voices = Voices(settings, "ONEUSDT", "live", lambda _: None, herald)
    voices.hear("critical", "kill", "kill switch with key-that-nobody-sees")
    voices.error(RuntimeError("lost key-that-nobody-sees"))
    voices.close()
    assert heard == [
        ("critical", "kill", "ONEUSDT: kill switch with ********"),
        ("critical", "stop", "ONEUSDT: the executor ended: RuntimeError: lost ********"),
    ]
    assert not herald.closed
