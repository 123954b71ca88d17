"""The ledger: append-only, chained, and aware of promotions that were made elsewhere."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from commands.learning import ledger as ledger_command
from commands.learning import rollback as rollback_command
from council import Council, Registry, save_bundle
from council.ledger import ELSEWHERE, How, Ledger
from market.errors import RegistryError
from tests.council.conftest import manifest_fields

NAME = "council-SYNUSDT-5m"


def write(ledger: Ledger, version: int, how: How = "promote", name: str = NAME) -> bool:
    return ledger.write(name, version, how, content_hash="a" * 64, gate_passed=True) is not None


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "mlruns" / "ledger.jsonl")


def test_who_what_when_and_over_which(ledger: Ledger) -> None:
    assert ledger.entries() == []
    assert write(ledger, 1)
    assert write(ledger, 2, name="other")
    assert write(ledger, 3)
    assert not write(ledger, 3, "seen")  # nothing has changed
    first, other, last = ledger.entries()
    assert (first.version, first.over, last.version, last.over) == (1, None, 3, 1)
    assert other.over is None
    assert "@" in first.by
    assert 1_700_000_000_000 < first.time_ms <= last.time_ms
    assert [entry.version for entry in ledger.entries(NAME)] == [1, 3]


def test_a_rollback_goes_back_and_not_back_and_forth(ledger: Ledger) -> None:
    for version, how in ((1, "promote"), (2, "promote"), (5, "seen"), (2, "rollback")):
        write(ledger, version, how)  # type: ignore[arg-type]
    assert ledger.in_production(NAME) == [1, 2]
    write(ledger, 1, "rollback")
    assert ledger.in_production(NAME) == [1]
    write(ledger, 2)
    assert ledger.in_production(NAME) == [1, 2]


@pytest.mark.parametrize("damage", ["edit", "remove", "nonsense", "swap"])
def test_a_changed_ledger_is_noticed(ledger: Ledger, damage: str) -> None:
    for version in (1, 2, 3):
        write(ledger, version)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    if damage == "edit":
        lines[1] = lines[1].replace(b'"version": 2', b'"version": 9')
    elif damage == "remove":
        del lines[1]
    elif damage == "nonsense":
        lines[2] = b"{}\n"
    else:
        lines[0], lines[1] = lines[1], lines[0]
    ledger.path.write_bytes(b"".join(lines))
    with pytest.raises(RegistryError, match="was changed or is damaged"):
        ledger.entries()
    with pytest.raises(RegistryError, match="was changed or is damaged"):
        write(ledger, 4)


@pytest.mark.failure(46)
def test_an_unfinished_last_line_is_dropped(ledger: Ledger) -> None:
    write(ledger, 1)
    write(ledger, 2)
    ledger.path.write_bytes(ledger.path.read_bytes()[:-20])
    assert [entry.version for entry in ledger.entries()] == [1]
    write(ledger, 3)
    assert [(entry.version, entry.over) for entry in ledger.entries()] == [(1, None), (3, 1)]


def test_several_writers_keep_one_chain(ledger: Ledger) -> None:
    threads = [threading.Thread(target=write, args=(ledger, 1, "promote", f"name-{n}")) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(entry.name for entry in ledger.entries()) == sorted(f"name-{n}" for n in range(12))


def test_a_ledger_that_cannot_be_written_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file")
    with pytest.raises(RegistryError, match=r"version 4 of .* is in Production and not in it"):
        write(Ledger(tmp_path / "mlruns" / "ledger.jsonl"), 4)


def test_promotions_here_and_in_the_ui_are_written_and_rolled_back(sqlite_uri: str, tmp_path: Path) -> None:
    registry = Registry(sqlite_uri, tmp_path / "artifacts")
    folder = tmp_path / "bundle"
    save_bundle(folder, council_of_test(), **manifest_fields())
    name = "council-LEDGER-5m"
    assert registry.notice(name) is None
    with pytest.raises(RegistryError, match="knows of no version"):
        registry.rollback(name)
    for _ in range(3):
        registry.register(name, folder)
    registry.promote(name, 1)
    # A person clicks in the UI, and nobody has looked yet when the next version is promoted.
    registry._connection.client.set_registered_model_alias(name, "production", "2")
    registry.promote(name, 3)
    entries = registry.ledger.entries(name)
    assert [(entry.version, entry.over, entry.how) for entry in entries] == [
        (1, None, "promote"),
        (2, 1, "seen"),
        (3, 2, "promote"),
    ]
    assert entries[1].by == ELSEWHERE
    assert registry.rollback(name).version == registry.production(name).version == 2
    assert registry.rollback(name).version == registry.production(name).version == 1
    with pytest.raises(RegistryError, match="knows of no version"):
        registry.rollback(name)
    tags = registry._connection.client.get_registered_model(name).tags
    assert tags["ledger.000003"].startswith("version 3 over version 2 by ")
    said = command(ledger_command, sqlite_uri, tmp_path, "--symbol", "LEDGER")
    assert "   3  20" in said
    assert f"{name} version 3 over version 2, promote by " in said
    assert f"{name} version 1 over version 2, rollback by " in said
    registry.promote(name, 3)
    assert f"{name} version 1 is in Production" in command(rollback_command, sqlite_uri, tmp_path, "--symbol", "LEDGER")
    assert json.loads(registry.ledger.path.read_text().splitlines()[-1])["how"] == "rollback"


def command(what: click.Command, uri: str, folder: Path, *arguments: str) -> str:
    environment = {"PURPLESKY_MLFLOW__URI": uri, "PURPLESKY_PATHS__MLRUNS": str(folder)}
    result = CliRunner().invoke(what, arguments, env=environment, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def council_of_test() -> Council:
    from tests.council.conftest import trained_council

    return trained_council(1)
