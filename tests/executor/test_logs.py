"""The log: JSON lines that rotate, without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.logs import Log, Masking


def lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_is_an_object_with_time_level_code_and_fields(tmp_path: Path) -> None:
    log = Log(tmp_path, "executor", Masking([]), fields={"symbol": "SYNUSDT"})
    log.hear("critical", "kill", 'kill switch: 100 % "quoted"\nand a second line')
    log.close()
    [line] = lines(log.path)
    assert (line["level"], line["code"], line["symbol"]) == ("critical", "kill", "SYNUSDT")
    assert line["text"].endswith("a second line")
    assert line["time"].endswith("Z")


def test_it_rotates_and_keeps_only_some(tmp_path: Path) -> None:
    log = Log(tmp_path, "executor", Masking([]), max_bytes=500, keep=2)
    for number in range(50):
        log.hear("info", "x", f"line {number}")
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "executor.jsonl",
        "executor.jsonl.1",
        "executor.jsonl.2",
    ]
    assert all(path.stat().st_size <= 500 for path in tmp_path.iterdir())
    assert lines(tmp_path / "executor.jsonl")[-1]["text"] == "line 49"


def test_secrets_are_masked_in_texts_fields_and_tracebacks(tmp_path: Path) -> None:
    secret = 'k"ey\\with-ü'
    log = Log(tmp_path, "executor", Masking([secret, secret[:8], "abc"]), fields={"where": secret})
    log.hear("info", "x", f"header {secret} abc")
    try:
        raise ValueError(f"bad key {secret}")
    except ValueError as error:
        log.error("stop", error)
    log.close()
    first, second = lines(log.path)
    assert first["text"] == "header ******** abc"  # too short to be a secret
    assert first["where"] == "********"
    assert "bad key ********" in second["exception"]
    assert "with-" not in log.path.read_text()


def test_a_full_disk_ends_nothing_and_is_counted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "executor.jsonl").symlink_to(full)
    log = Log(tmp_path, "executor", Masking([]), max_bytes=0)
    log.hear("warning", "x", "lost")
    log.hear("warning", "x", "lost")
    assert log.failures == 2
    log.close()
    assert capfd.readouterr().err == ""
