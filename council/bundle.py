"""One council as a folder: ``council.json`` and ``rank_k/{long,short}.txt``.

The format is plain text. Loading reads JSON and numbers and can run no code. ``council.json`` carries the sha256 of
every model text, and of itself, so a bundle has one content hash and a damaged one is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np

from council.manifest import Manifest, TrainingProfile
from council.plan import PASSIVE, Entry, StrategyParams
from council.trees import TreeModel
from council.voting import SIDES, Council, Member
from market.errors import BundleError, BundleMismatch

#: Version of the format that this code writes.
SCHEMA = 2
#: Versions that it reads. The first knew passive entries with the target at market only.
_READABLE = (1, 2)
_SPOKEN = " and ".join(map(str, _READABLE))
#: Name of the file that makes a folder a bundle.
COUNCIL_FILE = "council.json"

_MODEL_FILE = re.compile(r"rank_[1-9][0-9]{0,3}/(long|short)\.txt")
_LARGEST_JSON, _LARGEST_MODEL = 16 << 20, 256 << 20
_ADVICE = "Fetch the bundle from the registry again, or train a new council"
_SOFTWARE = ("purplesky", "lightgbm", "numba", "numpy", "optuna", "scikit-learn")


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``council.json``."""

    schema: int
    content_hash: str
    symbol: str
    timeframe: str
    levels: int
    stall_ms: int
    spec_hash: str
    engine_features: tuple[str, ...]
    features: tuple[str, ...]
    quorum: float
    members: tuple[_Member, ...]
    window_ms: tuple[int, int]
    data_fingerprint: str
    gate: dict[str, Any]
    statistics: dict[str, Any]
    profile: _Profile | None
    software: dict[str, str]
    files: dict[str, _File]


class _Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    offset_atr: float
    stop_atr: float
    target_atr: float
    tif_bars: int
    hold_bars: int
    entry: Entry = PASSIVE
    target_maker: bool = False


class _Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rank: int
    params: _Params
    threshold_long: float
    threshold_short: float
    models: dict[str, str]


class _Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    probabilities: tuple[float, ...]
    quantiles: dict[str, tuple[float, ...]]
    missing: dict[str, float]
    longest: dict[str, int] = {}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: str
    bytes: int


def save_bundle(
    folder: Path,
    council: Council,
    *,
    symbol: str,
    timeframe: str,
    levels: int,
    stall_ms: int,
    spec_hash: str,
    window_ms: tuple[int, int],
    data_fingerprint: str,
    gate: Mapping[str, Any],
    statistics: Mapping[str, Any] | None = None,
    profile: TrainingProfile | None = None,
) -> Council:
    """Write a council. The same council gives the same bytes.

    Parameters
    ----------
    folder
        Is created, or replaced as a whole if it is a bundle already; at no moment is it half there.
    council
        Members, quorum and feature names.
    symbol, timeframe, levels, stall_ms, spec_hash, window_ms, data_fingerprint, gate, statistics, profile
        See :class:`~council.manifest.Manifest`. ``gate`` has at least ``passed``. Numbers that are not finite become
        ``null``.

    Returns
    -------
    Council
        The same council with its manifest.

    Raises
    ------
    BundleError
        ``folder`` holds something else than a bundle.
    ValueError
        ``gate`` has no verdict, or a value is no plain JSON value.
    """
    if not isinstance(gate.get("passed"), bool):
        raise ValueError("a gate has a verdict: passed, True or False")
    texts = {
        f"rank_{member.rank}/{side}.txt": member.models[side].text.encode()
        for member in council.members
        for side in SIDES
    }
    document = {
        "schema": SCHEMA,
        "symbol": symbol,
        "timeframe": timeframe,
        "levels": levels,
        "stall_ms": stall_ms,
        "spec_hash": spec_hash,
        "engine_features": council.engine_features,
        "features": council.features,
        "quorum": council.quorum,
        "members": [_member_json(member) for member in council.members],
        "window_ms": window_ms,
        "data_fingerprint": data_fingerprint,
        "gate": gate,
        "statistics": statistics or {},
        "profile": profile
        and {
            "probabilities": profile.probabilities,
            "quantiles": profile.quantiles,
            "missing": profile.missing,
            "longest": profile.longest,
        },
        "software": _software(),
        "files": {
            name: {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)} for name, text in texts.items()
        },
    }
    plain = _plain(document)
    plain["content_hash"] = _content_hash(plain)
    # Read back before anything is on disk: what is written can be loaded.
    manifest = _manifest(_decode(_json_bytes(plain), COUNCIL_FILE))
    _write(folder, {COUNCIL_FILE: _json_bytes(plain), **texts})
    return replace(council, manifest=manifest)


def load_bundle(
    folder: Path,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    levels: int | None = None,
    spec_hash: str | None = None,
) -> Council:
    """Read and check a council.

    Parameters
    ----------
    folder
        The bundle.
    symbol, timeframe, levels, spec_hash
        What the council must be for; ``None`` asks nothing.

    Returns
    -------
    Council
        With its manifest.

    Raises
    ------
    BundleMismatch
        It is for another symbol, timeframe, number of levels or feature specification.
    BundleError
        It is missing, damaged, of another schema, or names a file outside itself.
    """
    document = _read_document(folder)
    wanted = {"symbol": symbol, "timeframe": timeframe, "levels": levels, "spec_hash": spec_hash}
    for name, value in wanted.items():
        found = getattr(document, name)
        if value is not None and value != found:
            raise BundleMismatch(
                f"the council in {folder} is for {name.replace('_', ' ')} {found}, not {value}",
                advice="Promote a council that was trained with these settings, or correct the settings",
            )
    try:
        members = tuple(_member(folder, document, member) for member in document.members)
        council = Council(members, document.quorum, document.engine_features, document.features)
    except ValueError as error:
        raise BundleError(f"{folder} holds no valid council: {error}", advice=_ADVICE) from error
    return replace(council, manifest=_manifest(document))


def content_hash(folder: Path) -> str:
    """Hash of a bundle's ``council.json``, checked; the model texts are not read.

    Raises
    ------
    BundleError
        It is missing, damaged or of another schema.
    """
    return _read_document(folder).content_hash


def _read_document(folder: Path) -> _Document:
    return _decode(_read(folder, COUNCIL_FILE, _LARGEST_JSON), str(folder / COUNCIL_FILE))


def _decode(data: bytes, name: str) -> _Document:
    try:
        plain = json.loads(data, parse_constant=_refuse_constant)
        if not isinstance(plain, dict):
            raise TypeError("it is not an object")
        if type(plain.get("schema")) is not int or plain["schema"] not in _READABLE:
            raise BundleError(
                f"{name} has schema {plain.get('schema')!r}, this version of PurpleSky reads {_SPOKEN}",
                advice="Train a new council with this version, or run the version that wrote it",
            )
        document = msgspec.convert(plain, _Document)
    except (ValueError, TypeError, RecursionError) as error:
        raise BundleError(f"{name} is damaged: {error}", advice=_ADVICE) from error
    if document.content_hash != _content_hash(plain):
        raise BundleError(f"{name} does not match its own hash", advice=_ADVICE)
    for path in document.files:
        if not _MODEL_FILE.fullmatch(path):
            raise BundleError(f"{name} names a file that no bundle has: {path!r}", advice=_ADVICE)
    return document


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _member(folder: Path, document: _Document, member: _Member) -> Member:
    models = {}
    for side, path in member.models.items():
        if path != f"rank_{member.rank}/{side}.txt" or path not in document.files:
            raise BundleError(f"{folder / COUNCIL_FILE} lists no file {path!r}", advice=_ADVICE)
        data = _read(folder, path, _LARGEST_MODEL)
        if hashlib.sha256(data).hexdigest() != document.files[path].sha256 or len(data) != document.files[path].bytes:
            raise BundleError(f"{folder / path} does not match its hash in {COUNCIL_FILE}", advice=_ADVICE)
        models[side] = TreeModel.parse(data.decode())
    params = StrategyParams(**msgspec.structs.asdict(member.params))
    return Member(member.rank, params, member.threshold_long, member.threshold_short, models)


def _manifest(document: _Document) -> Manifest:
    profile = None
    if document.profile is not None:
        told = document.profile
        profile = TrainingProfile(told.probabilities, told.quantiles, told.missing, told.longest)
    return Manifest(
        symbol=document.symbol,
        timeframe=document.timeframe,
        levels=document.levels,
        stall_ms=document.stall_ms,
        spec_hash=document.spec_hash,
        window_ms=document.window_ms,
        data_fingerprint=document.data_fingerprint,
        gate=document.gate,
        statistics=document.statistics,
        profile=profile,
        software=document.software,
        content_hash=document.content_hash,
    )


def _member_json(member: Member) -> dict[str, Any]:
    return {
        "rank": member.rank,
        "params": member.params.to_json(),
        "threshold_long": member.threshold_long,
        "threshold_short": member.threshold_short,
        "models": {side: f"rank_{member.rank}/{side}.txt" for side in SIDES},
    }


def _software() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _SOFTWARE:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # the extra is not installed
            continue
    return versions


def _plain(value: Any) -> Any:
    """Plain JSON values: NumPy scalars unwrapped, tuples as lists, numbers that are not finite as ``None``."""
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise ValueError(f"{value!r} is no plain JSON value")


def _json_bytes(plain: dict[str, Any]) -> bytes:
    return (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _content_hash(plain: dict[str, Any]) -> str:
    rest = {key: value for key, value in plain.items() if key != "content_hash"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(folder: Path, name: str, largest: int) -> bytes:
    """A file of the bundle; links are not followed, they could lead out of it."""
    path = folder / name
    try:
        if path.is_symlink() or (path.parent != folder and path.parent.is_symlink()):
            raise BundleError(f"{path} is a link", advice=_ADVICE)
        with path.open("rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror})", advice=_ADVICE) from error
    if len(data) > largest:
        raise BundleError(f"{path} is larger than {largest >> 20} MiB", advice=_ADVICE)
    return data


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write beside, flush, then put in place."""
    if folder.exists() and any(folder.iterdir()) and not (folder / COUNCIL_FILE).is_file():
        raise BundleError(f"{folder} holds something else than a bundle", advice="Choose an empty or new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{uuid4().hex}")
    try:
        for name, data in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _put_in_place(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(beside: Path, folder: Path) -> None:
    """Rename; a bundle that was there goes only when the new one stands."""
    if not folder.exists():
        beside.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{uuid4().hex}.old")
    folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old)
