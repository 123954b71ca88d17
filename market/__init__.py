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
lake
    :class:`Lake`, :class:`SuspectWindow`, :func:`import_archives`.
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
    from market.feed import Disconnected, Frame, PublicFeed, topics_for
    from market.lake import Lake
    from market.recorder import Recorder, RecorderCounts
    from market.rest import fetch_instruments
    from market.writer import LakeWriter

#: Loaded on first use: whoever only needs events does not pay for aiohttp and pyarrow.
_LAZY = {
    "Assembled": "assembler",
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
    "SessionAssembler",
    "SuspectWindow",
    "fetch_instruments",
    "import_archives",
    "pick",
    "read_instruments",
    "topics_for",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
