"""Who is in Production: fetched, checked, refused; and trading on while nobody knows."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from council import save_bundle
from council.registry import Registry
from executor.registry_watch import CouncilStore, RegistryWatch, Wanted
from executor.state import CouncilRef
from market.errors import BundleError, BundleMismatch, NoProductionError, RegistryUnavailable
from tests.executor.conftest import sign_council

NAME = "council-SYNUSDT-1m"
ENGINE = ("signal", "other")
WANTED = Wanted("SYNUSDT", "1m", 50, "5" * 64)
FIELDS: dict[str, Any] = {
    "symbol": "SYNUSDT",
    "timeframe": "1m",
    "levels": 50,
    "stall_ms": 60_000,
    "spec_hash": "5" * 64,
    "window_ms": (0, 1),
    "data_fingerprint": "none",
    "gate": {"passed": False},
}


def bundle(folder: Path, *, sign: int = 1, **changes: Any) -> Path:
    save_bundle(folder, sign_council(ENGINE, "signal", sign=sign), **(FIELDS | changes))
    return folder


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], Path]) -> Registry:
    """A registry in which version 1 is good and 2 to 5 are each for something else."""
    folder = tmp_path_factory.mktemp("registry")
    registry = Registry(f"sqlite:///{empty_registry(folder)}", folder / "artifacts")
    wrong: list[dict[str, Any]] = [
        {},
        {"symbol": "BTCUSDT"},
        {"timeframe": "5m"},
        {"levels": 200},
        {"spec_hash": "6" * 64},
    ]
    for number, changes in enumerate(wrong):
        registry.register(NAME, bundle(folder / f"bundle-{number}", **changes))
    return registry


@pytest.fixture
def watch(shelf: Registry, tmp_path: Path) -> RegistryWatch:
    return RegistryWatch(shelf, NAME, CouncilStore(tmp_path / "councils", WANTED))


def test_production_is_fetched_and_can_be_asked(shelf: Registry, watch: RegistryWatch, tmp_path: Path) -> None:
    shelf.promote(NAME, 1)
    ref = watch.look()
    assert (ref.version, ref.gate_passed) == (1, False)
    council = CouncilStore(tmp_path / "councils", WANTED)(ref.content_hash)
    assert council.vote([0.5, 0.0]).side == 1


@pytest.mark.failure(40)
@pytest.mark.parametrize(
    ("version", "names"), [(2, "BTCUSDT, not SYNUSDT"), (3, "5m, not 1m"), (4, "200, not 50"), (5, "spec hash 666")]
)
def test_a_council_for_something_else_is_refused(
    shelf: Registry, watch: RegistryWatch, version: int, names: str
) -> None:
    shelf.promote(NAME, version)
    with pytest.raises(BundleMismatch, match=names):
        watch.look()
    with pytest.raises(BundleError, match=f"version {version} of {NAME} is refused"):
        watch.look()


def test_a_damaged_cache_is_fetched_again(shelf: Registry, watch: RegistryWatch, tmp_path: Path) -> None:
    shelf.promote(NAME, 1)
    ref = watch.look()
    model = tmp_path / "councils" / ref.content_hash / "rank_1" / "long.txt"
    model.write_text(model.read_text().replace("leaf_value=", "leaf_value=9"))
    store = CouncilStore(tmp_path / "councils", WANTED)
    with pytest.raises(BundleError, match="damaged"):
        store(ref.content_hash)
    assert RegistryWatch(shelf, NAME, store).look() == ref
    assert store(ref.content_hash).members


async def _poll(watch: RegistryWatch, seconds: float) -> tuple[list[CouncilRef], list[str]]:
    found: list[CouncilRef] = []
    said: list[str] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await watch.run(0.01, found.append, lambda level, code, text: said.append(f"{level} {text}"))
    return found, said


async def test_what_is_wrong_is_said_once_and_trading_goes_on(shelf: Registry, watch: RegistryWatch) -> None:
    await asyncio.to_thread(shelf.promote, NAME, 2)
    found, said = await _poll(watch, 1.5)
    assert not found
    assert len(said) == 2  # the mismatch, and that the version is refused from now on
    assert all("trading goes on with the council at hand" in line for line in said)


async def test_a_registry_that_is_down_does_not_stop_trading(tmp_path: Path) -> None:
    registry = Registry("http://127.0.0.1:9", tmp_path / "artifacts")
    watch = RegistryWatch(registry, NAME, CouncilStore(tmp_path / "councils", WANTED))
    with pytest.raises(RegistryUnavailable):
        await asyncio.to_thread(watch.look)
    found, said = await _poll(watch, 3.0)
    assert not found
    assert len(said) == 1
    assert said[0].startswith("info")


def test_no_production_is_an_error_at_the_start(tmp_path: Path) -> None:
    registry = Registry(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "artifacts")
    with pytest.raises(NoProductionError):
        RegistryWatch(registry, NAME, CouncilStore(tmp_path / "councils", WANTED)).look()


def test_a_council_that_is_not_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not in"):
        CouncilStore(tmp_path, WANTED)("a" * 64)
    shutil.rmtree(tmp_path)
