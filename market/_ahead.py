"""Work that goes on in another thread while its results are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

_T = TypeVar("_T")
_END: Any = object()


class Ahead(Generic[_T]):
    """The items of a generator, made in a thread of its own from the start on.

    An error in the generator is raised where its item would have come.

    Parameters
    ----------
    items
        Makes them.
    most
        How many may wait to be taken.
    """

    def __init__(self, items: Generator[_T], most: int = 1) -> None:
        self._items = items
        self._maker = ThreadPoolExecutor(1)
        self._coming = deque(self._maker.submit(next, items, _END) for _ in range(most))

    def __iter__(self) -> Iterator[_T]:
        while (item := self._coming.popleft().result()) is not _END:
            self._coming.append(self._maker.submit(next, self._items, _END))
            yield item

    def close(self) -> None:
        """Make no more; waits for the one that is being made."""
        self._maker.shutdown(wait=True, cancel_futures=True)
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
