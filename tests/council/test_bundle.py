"""The bundle: what goes in comes out, and nothing damaged, foreign or cunning gets in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from council import COUNCIL_FILE, Council, TrainingProfile, content_hash, load_bundle, save_bundle
from council.bundle import _content_hash
from market.errors import BundleError, BundleMismatch
from tests.council.conftest import ENGINE, FEATURES, SPEC, manifest_fields, market, trained_council


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, council: Council) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "one"
    save_bundle(folder, council, **manifest_fields())
    return folder


@pytest.fixture
def bundle(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "bundle"))


def rewrite(bundle: Path, change: Callable[[dict[str, Any]], Any], *, seal: bool = True) -> None:
    """Change ``council.json``; with ``seal`` its own hash is right again, as a forger would do it."""
    document = json.loads((bundle / COUNCIL_FILE).read_text())
    change(document)
    if seal:
        document["content_hash"] = _content_hash(document)
    (bundle / COUNCIL_FILE).write_text(json.dumps(document))


def test_what_goes_in_comes_out(saved: Path, council: Council) -> None:
    loaded = load_bundle(saved, symbol="SYNUSDT", timeframe="5m", levels=200, spec_hash=SPEC)
    assert loaded.members == council.members
    assert (loaded.quorum, loaded.engine_features, loaded.features) == (0.5, ENGINE, FEATURES)
    values, _ = market(4, features=len(ENGINE))
    assert np.array_equal(loaded.vote_many(values).probability, council.vote_many(values).probability)
    manifest = loaded.manifest
    assert manifest is not None
    assert manifest.gate_passed
    assert manifest.window_ms == (1_700_000_000_000, 1_700_086_400_000)
    assert manifest.statistics == {"sharpe": 1.25, "sortino": None, "trades": 40}
    assert manifest.software["lightgbm"].startswith("4.")
    assert manifest.profile == TrainingProfile.of(market(3, features=len(ENGINE))[0], ENGINE)
    assert manifest.content_hash == content_hash(saved)


def test_saving_tells_the_manifest_that_loading_reads(tmp_path: Path, council: Council) -> None:
    returned = save_bundle(tmp_path / "b", council, **manifest_fields(profile=None, statistics=None))
    assert returned.manifest == load_bundle(tmp_path / "b").manifest
    assert returned.manifest is not None
    assert returned.manifest.profile is None
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        ["b/council.json", *(f"b/rank_{rank}/{side}.txt" for rank in (1, 2, 3) for side in ("long", "short"))]
    )


def test_the_same_council_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save_bundle(tmp_path / "again", trained_council(), **manifest_fields())
    for path in saved.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(saved)).read_bytes()


@pytest.mark.parametrize(
    "change", [{"symbol": "OTHERUSDT"}, {"stall_ms": 1}, {"gate": {"passed": False}}, {"statistics": {"a": 1.0}}]
)
def test_every_field_is_in_the_content_hash(
    saved: Path, tmp_path: Path, council: Council, change: dict[str, Any]
) -> None:
    save_bundle(tmp_path / "b", council, **manifest_fields(**change))
    assert content_hash(tmp_path / "b") != content_hash(saved)


@pytest.mark.failure(40)
@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"symbol": "BTCUSDT"}, "is for symbol SYNUSDT, not BTCUSDT"),
        ({"timeframe": "1m"}, "is for timeframe 5m, not 1m"),
        ({"levels": 50}, "is for levels 200, not 50"),
        ({"spec_hash": "6" * 64}, f"is for spec hash {SPEC}, not {'6' * 64}"),
    ],
)
def test_council_of_another_market_or_specification_is_refused(
    saved: Path, wanted: dict[str, Any], message: str
) -> None:
    right = {"symbol": "SYNUSDT", "timeframe": "5m", "levels": 200, "spec_hash": SPEC}
    with pytest.raises(BundleMismatch, match=message):
        load_bundle(saved, **{**right, **wanted})


@pytest.mark.parametrize("name", [COUNCIL_FILE, "rank_1/long.txt", "rank_3/short.txt"])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "grow", "folder"])
def test_damage_is_found(bundle: Path, name: str, damage: str) -> None:
    path = bundle / name
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        at = data.index(b"0.", len(data) // 3)
        path.write_bytes(data[:at] + b"1." + data[at + 2 :])
    elif damage == "grow":
        path.write_bytes(data + b"\nTree=0\n")
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(BundleError) as caught:
        load_bundle(bundle)
    assert name in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"schema": 1}', '{"schema": NaN}', "[" * 100_000, "\ud800"])
def test_nonsense_is_refused(bundle: Path, text: str) -> None:
    (bundle / COUNCIL_FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BundleError):
        load_bundle(bundle)


def test_a_bundle_of_the_first_schema_still_loads(bundle: Path) -> None:
    """It knew neither entry styles nor maker targets: its members enter passively, with the target at market."""

    def age(document: dict[str, Any]) -> None:
        document["schema"] = 1
        for member in document["members"]:
            del member["params"]["entry"], member["params"]["target_maker"]

    rewrite(bundle, age)
    assert {(m.params.entry, m.params.target_maker) for m in load_bundle(bundle).members} == {("passive", False)}


def test_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"council\.json cannot be read"):
        load_bundle(tmp_path / "nothing")


def test_change_without_the_right_hash_is_refused(bundle: Path) -> None:
    rewrite(bundle, lambda document: document["gate"].update(dsr=0.99), seal=False)
    with pytest.raises(BundleError, match="does not match its own hash"):
        load_bundle(bundle)


def _move_model(document: dict[str, Any], path: str) -> None:
    document["files"][path] = document["files"]["rank_1/long.txt"]
    document["members"][0]["models"]["long"] = path


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(schema=3), "has schema 3, this version of PurpleSky reads 1 and 2"),
        (lambda d: d.update(schema=True), "has schema True"),
        (lambda d: d["members"][0]["params"].update(entry="sideways"), "Invalid enum value"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.pop("levels"), "levels"),
        (lambda d: d.update(levels="200"), "Expected `int`"),
        (lambda d: d.update(quorum=0), "quorum"),
        (lambda d: d.update(members=[]), "needs members"),
        (lambda d: d.update(features=["spread_bps"]), "trained on other features"),
        (lambda d: d["members"][0].update(threshold_long=-1), "impossible member"),
        (lambda d: d["members"][0]["params"].update(stop_atr=0), "impossible strategy"),
        (lambda d: d["members"][0]["models"].pop("long"), "needs a TreeModel"),
        (lambda d: d["members"][0].update(rank=2), "lists no file"),
        (lambda d: d["files"].pop("rank_1/long.txt"), "lists no file"),
        (lambda d: _move_model(d, "../secret.txt"), "names a file that no bundle has"),
        (lambda d: _move_model(d, "rank_1/../../secret.txt"), "names a file that no bundle has"),
        (lambda d: _move_model(d, "/etc/passwd"), "names a file that no bundle has"),
        (lambda d: _move_model(d, "rank_1\\..\\secret.txt"), "names a file that no bundle has"),
        (lambda d: _move_model(d, "rank_2/long.txt"), "lists no file"),
    ],
)
def test_forged_document_is_refused(bundle: Path, change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    (bundle.parent / "secret.txt").write_text("secret")
    rewrite(bundle, change)
    with pytest.raises(BundleError, match=reason):
        load_bundle(bundle)


def test_links_are_not_followed(bundle: Path) -> None:
    outside = bundle.parent / "outside"
    shutil.move(bundle / "rank_1", outside)
    (bundle / "rank_1").symlink_to(outside)
    with pytest.raises(BundleError, match="is a link"):
        load_bundle(bundle)
    (bundle / "rank_1").unlink()
    shutil.copytree(outside, bundle / "rank_1")
    (bundle / "rank_1" / "long.txt").unlink()
    (bundle / "rank_1" / "long.txt").symlink_to(outside / "long.txt")
    with pytest.raises(BundleError, match="is a link"):
        load_bundle(bundle)


def test_a_bundle_may_be_replaced_and_nothing_else(tmp_path: Path, council: Council) -> None:
    folder = tmp_path / "b"
    save_bundle(folder, trained_council(4), **manifest_fields())
    save_bundle(folder, council, **manifest_fields())
    assert len(load_bundle(folder).members) == 3
    assert not (folder / "rank_4").exists()
    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("dear diary")
    with pytest.raises(BundleError, match="something else than a bundle"):
        save_bundle(tmp_path / "diary", council, **manifest_fields())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "diary"]


@pytest.mark.parametrize(
    "change", [{"gate": {}}, {"gate": {"passed": 1}}, {"statistics": {"x": object()}}, {"statistics": {"x": b"y"}}]
)
def test_what_cannot_be_read_again_is_not_written(tmp_path: Path, council: Council, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"verdict|plain JSON"):
        save_bundle(tmp_path / "b", council, **manifest_fields(**change))
    with pytest.raises(BundleError):
        save_bundle(tmp_path / "b", council, **manifest_fields(levels="many"))
    assert list(tmp_path.iterdir()) == []


def test_profile_keeps_quantiles_of_known_values_and_the_share_of_unknown() -> None:
    values = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [3.0, np.nan]])
    profile = TrainingProfile.of(values, ["a", "b"], (0.0, 0.5, 1.0))
    assert profile.quantiles == {"a": (1.0, 2.0, 3.0), "b": ()}
    assert profile.missing == {"a": 0.25, "b": 1.0}
    for bad in (values[:0], values[:, :1], values[0]):
        with pytest.raises(ValueError, match="do not fit"):
            TrainingProfile.of(bad, ["a", "b"])
