"""The seal of a lake part: what is in it, what was lost before it, and how to tell that it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from market.errors import LakeError

#: Version of the lake's layout and columns; a part of another version is refused.
SCHEMA = 2

Count = Annotated[int, Meta(ge=0)]


class Gap(Struct, frozen=True):
    """A GAP row: stands before all rows of its ordinal."""

    ordinal: Count
    time_ms: Count
    recv_ns: int
    cause: str


class Doubt(Struct, frozen=True):
    """A stretch of exchange time whose rows cannot be vouched for, and why; no row stands for it."""

    ordinal: Count
    start_ms: Count
    end_ms: Count
    recv_ns: int
    cause: str


class Oddity(Struct, frozen=True):
    """Messages that were not in the documented form: what of it, how often, and when first and last.

    ``kind`` is ``new field``, ``changed form``, ``other symbol`` or ``off the tick``.
    """

    kind: str
    detail: str
    count: Count
    first_ms: Count
    last_ms: Count


class Snapshot(Struct, frozen=True):
    """Where a book message replaced the book."""

    ordinal: Count
    time_ms: Count


class StreamFile(Struct, frozen=True):
    """One Parquet file of the part."""

    rows: Count
    bytes: Count
    sha256: str


class Source(Struct, frozen=True):
    """Where an imported part comes from.

    ``archives`` maps file names to SHA-256; ``piece`` of ``pieces``: a day counts only when all its pieces are there.
    """

    archives: dict[str, str]
    piece: Count
    pieces: Count


class Merged(Struct, frozen=True):
    """A part that compaction has merged into another: all that its fingerprint and its followers need."""

    part: str
    times_ms: tuple[int, int]
    files: dict[str, StreamFile]
    gaps: list[Gap]


class Manifest(Struct, frozen=True, kw_only=True):
    """One sealed part: the Parquet files of one stretch of capture of one symbol.

    Attributes
    ----------
    part
        Name of its files; sorts in capture order.
    files
        By stream. The book file is always there, the others when they have rows.
    ordinals, times_ms
        First and last, least and greatest.
    book_ms
        Exchange time of the first book message and the greatest of all; ``None`` without book messages.
    u
        First and last update id of the book.
    max_silence_ms
        Longest time between two book messages.
    follows
        The part sealed before it in the same session: when that is missing, its time is a hole.
    doubts
        What is suspect without a GAP row.
    oddities
        What was not in the documented form; ``None`` where nobody looked (archives).
    merged
        The parts that compaction made this one of; they are not read any more, even while their files are there.
    """

    schema: int
    symbol: str
    date: str
    part: str
    tick_size: str
    qty_step: str
    files: dict[str, StreamFile]
    level_changes: Count
    trades: Count
    ordinals: tuple[int, int]
    times_ms: tuple[int, int]
    book_ms: tuple[int, int] | None
    u: tuple[int, int] | None
    max_silence_ms: Count
    gaps: list[Gap]
    snapshots: list[Snapshot]
    follows: str | None = None
    source: Source | None = None
    doubts: list[Doubt] = []
    oddities: list[Oddity] | None = None
    merged: list[Merged] = []

    @property
    def last_part(self) -> str:
        """The name by which the next part of the session knows this one."""
        return self.merged[-1].part if self.merged else self.part


_decoder = msgspec.json.Decoder(Manifest)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises
    ------
    LakeError
        It is damaged, or of another schema version.
    """
    try:
        manifest = _decoder.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise LakeError(
            f"{path} is damaged ({error})",
            advice="Move it and the Parquet file of the same name out of the lake, or restore both from a backup",
        ) from error
    if manifest.schema != SCHEMA:
        newer = "Use the PurpleSky version that wrote it, or a newer one"
        raise LakeError(
            f"{path} has lake schema {manifest.schema}, this version reads {SCHEMA}",
            advice="Run `purplesky upgrade`" if manifest.schema < SCHEMA else newer,
        )
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
