"""Columns that grow by whole messages: what a recorder appends to thousands of times a second."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Columns:
    """Equally long NumPy columns with room to grow.

    Parameters
    ----------
    dtypes
        Name and dtype of each column.
    room
        Rows that are expected; where they become more, everything is copied.
    """

    def __init__(self, dtypes: Mapping[str, np.dtype[np.generic]], room: int = 1024) -> None:
        self.rows = 0
        self._arrays: dict[str, NDArray[np.generic]] = {name: np.empty(room, dtype) for name, dtype in dtypes.items()}

    def extend(self, rows: int, values: Mapping[str, ArrayLike]) -> None:
        """Append `rows` rows; a scalar value goes into each of them."""
        start, end = self.rows, self.rows + rows
        arrays = self._arrays
        if end > len(next(iter(arrays.values()))):
            self._grow(end)
        for name, value in values.items():
            arrays[name][start:end] = value
        self.rows = end

    def _grow(self, needed: int) -> None:
        for name, array in self._arrays.items():
            larger = np.empty(max(needed, 4 * len(array)), array.dtype)
            larger[: self.rows] = array[: self.rows]
            self._arrays[name] = larger

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        """The filled part of one column."""
        return self._arrays[name][: self.rows]  # type: ignore[return-value]
