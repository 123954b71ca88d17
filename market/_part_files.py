"""Where the files of a part lie, and removing parts: a crash half way leaves a removal that the next start ends."""

from __future__ import annotations

from pathlib import Path

import msgspec

from market._parts import BOOK_STREAM, STREAMS, lake_io
from market.manifest import Manifest, read_manifest

#: Ends the name of a manifest whose part is being removed.
_GONE = ".gone"


def part_path(root: Path, stream: str, manifest: Manifest) -> Path:
    """Where the file of a stream of a part lies."""
    return root / stream / f"symbol={manifest.symbol}" / f"date={manifest.date}" / f"{manifest.part}.parquet"


def manifest_path(root: Path, manifest: Manifest) -> Path:
    """Where the manifest of a part lies: beside its book file, out of sight of readers of Parquet folders."""
    return part_path(root, BOOK_STREAM, manifest).with_name(f"_{manifest.part}.json")


def remove_merged(root: Path, symbol: str) -> None:
    """Delete the parts that compaction has merged into others: manifests first, so that none is half there."""
    manifests = sorted((root / BOOK_STREAM / f"symbol={symbol}").glob("date=*/_*.json"))
    for path in manifests:
        # A part that was merged twice is gone with the first one that names it.
        if not path.exists() or b'"merged": []' in path.read_bytes():
            continue
        manifest = read_manifest(path)
        for one in manifest.merged:
            old = msgspec.structs.replace(manifest, part=one.part)
            for gone in (manifest_path(root, old), *(part_path(root, stream, old) for stream in STREAMS)):
                with lake_io(gone):
                    gone.unlink(missing_ok=True)


def remove_part(root: Path, manifest: Manifest) -> None:
    """Delete a part. With the renaming of its manifest no reader sees it any more; its files follow."""
    path = manifest_path(root, manifest)
    gone = path.with_name(f".{path.name}{_GONE}")
    with lake_io(path):
        path.replace(gone)
    _end(root, gone)


def end_removals(root: Path, symbol: str) -> None:
    """Delete what removals that were interrupted have left."""
    for gone in sorted((root / BOOK_STREAM / f"symbol={symbol}").glob(f"date=*/.*{_GONE}")):
        _end(root, gone)


def _end(root: Path, gone: Path) -> None:
    place = gone.parent.relative_to(root / BOOK_STREAM)
    name = gone.name.removeprefix("._").removesuffix(f".json{_GONE}")
    # By its name alone: a removal ends whatever schema the part is of.
    for path in (*(root / stream / place / f"{name}.parquet" for stream in STREAMS), gone):
        with lake_io(path):
            path.unlink(missing_ok=True)
