"""The rows of a book part with what their messages have once, as tests like to look at them."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from market import Lake
from market._part_files import part_path
from market.manifest import Manifest


def book_columns(lake: Lake, manifest: Manifest) -> dict[str, NDArray[np.int64]]:
    """All columns, one value a row."""
    book, messages = (
        pq.ParquetFile(part_path(lake.root, stream, manifest)).read() if stream in manifest.files else None
        for stream in ("book", "messages")
    )
    assert book is not None
    columns = {name: book[name].to_numpy() for name in book.column_names}
    columns["price"] = columns["price"].astype(np.int64)
    if messages is not None:
        at = np.searchsorted(messages["ordinal"].to_numpy(), columns["ordinal"])
        assert np.array_equal(messages["ordinal"].to_numpy()[at], columns["ordinal"])
        columns |= {name: messages[name].to_numpy()[at] for name in ("recv_ns", "ts_lag_ms", "u", "seq")}
    return columns
