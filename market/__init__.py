"""What Bybit says, and what we keep of it.

The room holds the wire messages of Bybit's v5 public streams, contract rules, the recorder, the Parquet lake and the
import of Bybit's history archives. It never interprets the market (that is ``features``), never decides, never sends
an order, and imports nothing of the other rooms.

Public face
-----------
events
    :class:`EventBatch`, the one stream that features, fill model and replay consume.
live
    :class:`PublicFeed` gives raw frames, :class:`SessionAssembler` turns them into events; :class:`Recorder` does both
    into the lake.
    :func:`run_daemon` runs a recorder under systemd or at a terminal.
lake
    :class:`Lake`, :class:`SuspectWindow`, :func:`import_archives`; :func:`book_at` and :func:`coverage` tell what is
    in it, :func:`compact` and :func:`retain` keep it small.
rules
    :class:`Instrument`, :func:`fetch_instruments`, :func:`read_instruments`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from market import _kernel_cache
from market.events import EventBatch
from market.instruments import Instrument, pick, read_instruments

_kernel_cache.choose()

if TYPE_CHECKING:
    from market._replay import SuspectWindow
    from market.archives import ImportReport, import_archives
    from market.assembler import Assembled, SessionAssembler
    from market.compaction import Compacted, Retention, compact, retain
    from market.daemon import run_daemon
    from market.feed import Disconnected, Frame, PublicFeed, topics_for
    from market.history import BookAt, DayCoverage, book_at, book_text, coverage, coverage_text, parse_time
    from market.lake import Lake
    from market.recorder import Recorder, RecorderCounts
    from market.rest import fetch_instruments
    from market.writer import LakeWriter

#: Loaded on first use: whoever only needs events does not pay for aiohttp and pyarrow.
_LAZY = {
    "Assembled": "assembler",
    "BookAt": "history",
    "Compacted": "compaction",
    "DayCoverage": "history",
    "Retention": "compaction",
    "book_at": "history",
    "book_text": "history",
    "compact": "compaction",
    "coverage": "history",
    "coverage_text": "history",
    "parse_time": "history",
    "retain": "compaction",
    "run_daemon": "daemon",
    "Disconnected": "feed",
    "Frame": "feed",
    "ImportReport": "archives",
    "Lake": "lake",
    "LakeWriter": "writer",
    "PublicFeed": "feed",
    "Recorder": "recorder",
    "RecorderCounts": "recorder",
    "SessionAssembler": "assembler",
    "SuspectWindow": "_replay",
    "fetch_instruments": "rest",
    "import_archives": "archives",
    "topics_for": "feed",
}

__all__ = [
    "Assembled",
    "BookAt",
    "Compacted",
    "DayCoverage",
    "Disconnected",
    "EventBatch",
    "Frame",
    "ImportReport",
    "Instrument",
    "Lake",
    "LakeWriter",
    "PublicFeed",
    "Recorder",
    "RecorderCounts",
    "Retention",
    "SessionAssembler",
    "SuspectWindow",
    "book_at",
    "book_text",
    "compact",
    "coverage",
    "coverage_text",
    "fetch_instruments",
    "import_archives",
    "parse_time",
    "pick",
    "read_instruments",
    "retain",
    "run_daemon",
    "topics_for",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
