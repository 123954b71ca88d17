"""The command line as a person meets it: help, usage errors, one-line errors, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import purplesky
from tests.executor.test_daemon import fill_lake

ROOT = Path(__file__).parents[1]


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "purplesky", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.failure(45)
@pytest.mark.parametrize("command", sorted(purplesky.cli.commands))
def test_every_command_has_help(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["purplesky", command, "--help"])
    purplesky.main()
    assert "Usage:" in capsys.readouterr().out


@pytest.mark.failure(45)
@pytest.mark.parametrize(
    "arguments",
    [["validate"], ["train"], ["execute", "nonsense"], ["import"], ["nonsense"], ["train", "--trials", "x"]],
)
def test_wrong_usage_exits_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["purplesky", *arguments])
    with pytest.raises(SystemExit) as stop:
        purplesky.main()
    assert stop.value.code == 2
    assert "Usage:" in capsys.readouterr().err


@pytest.mark.failure(45)
@pytest.mark.parametrize(
    "command",
    [name for name, one in sorted(purplesky.cli.commands.items()) if any(part.required for part in one.params)],
)
def test_every_missing_argument_exits_2_with_usage(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(part.required for part in purplesky.cli.commands[command].params)
    given: list[str] = []
    for _ in range(needed):
        monkeypatch.setattr(sys, "argv", ["purplesky", command, *given])
        with pytest.raises(SystemExit) as stop:
            purplesky.main()
        said = capsys.readouterr().err
        assert (stop.value.code, "Usage:" in said) == (2, True)
        assert "Missing" in said
        given += ["--symbol", "BTCUSDT"] if "'--symbol'" in said else ["1"]
        if "Missing option '--to'" in said or command in ("serve", "market"):
            break


def one_line_error(result: subprocess.CompletedProcess[str], *words: str) -> None:
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 2, result.stdout + result.stderr
    assert lines, "nothing was said"
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[-1]


def test_corrupt_config(tmp_path: Path) -> None:
    (tmp_path / "purplesky.toml").write_text("[risk\n", encoding="utf-8")
    one_line_error(run("config", cwd=tmp_path), "purplesky.toml is not TOML")


def test_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "purplesky.toml").write_text("[risk]\nmax_drawdwon = 0.1\n", encoding="utf-8")
    one_line_error(run("config", cwd=tmp_path), "risk.max_drawdwon is not a setting")


@pytest.mark.parametrize("command", ["validate", "train"])
def test_empty_lake_leaves_nothing(command: str, tmp_path: Path) -> None:
    result = run(command, "--symbol", "BTCUSDT", cwd=tmp_path)
    one_line_error(result, "the lake data/lake is empty", "purplesky capture")
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()
    assert not (tmp_path / "data" / "reports").exists()


def test_unknown_symbol_in_archives(tmp_path: Path, recorded: Path) -> None:
    result = run("import", str(recorded), "--symbol", "NOSUCHUSDT", cwd=tmp_path)
    one_line_error(result, "NOSUCHUSDT", "SXBTCUSDT")
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_promote_with_nothing_registered(tmp_path: Path) -> None:
    one_line_error(run("promote", cwd=tmp_path))


def test_mlflow_server_down(tmp_path: Path) -> None:
    result = run("promote", cwd=tmp_path, PURPLESKY_MLFLOW__URI="http://127.0.0.1:9")
    one_line_error(result, "127.0.0.1:9")


def test_no_prefect_server(tmp_path: Path, recorded: Path) -> None:
    url = "http://127.0.0.1:9/api"
    result = run("import", str(recorded), "--symbol", "HLBTCUSDT", cwd=tmp_path, PURPLESKY_PREFECT__API_URL=url)
    one_line_error(result, url, "purplesky ui")


def test_too_little_data_to_train_on(tmp_path: Path) -> None:
    fill_lake(tmp_path / "data" / "lake", 30)
    one_line_error(run("train", "--symbol", "SYNUSDT", cwd=tmp_path), "usable bars")
    assert not (tmp_path / "data" / "training").exists()
    assert not (tmp_path / "mlruns").exists()


def test_live_is_refused(tmp_path: Path) -> None:
    one_line_error(run("execute", "--symbol", "BTCUSDT", "--live", cwd=tmp_path), "live")


@pytest.mark.failure(42)
def test_narrow_console(tmp_path: Path) -> None:
    result = run("config", cwd=tmp_path, PYTHONIOENCODING="ascii", PURPLESKY_PATHS__DATA="données")
    assert result.returncode == 0, result.stderr


def test_executor_starts_without_the_pipeline(tmp_path: Path) -> None:
    """Importing the executor pulls nothing of the extra [pipeline]."""
    code = (
        "import sys, executor, market, features, council, simulation, purplesky, settings\n"
        "heavy = {'pandas', 'prefect', 'optuna', 'great_expectations', 'matplotlib', 'sklearn', 'sqlalchemy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
