"""What a connection brings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

import msgspec


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One text frame as received, and when (UTC ns)."""

    data: bytes
    recv_ns: int


@dataclass(slots=True)
class Frames:
    """Text frames as received, and when each was (UTC ns)."""

    datas: list[bytes] = field(default_factory=list)
    recv_ns: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> Self:
        """Frames that are at hand one by one."""
        out = cls()
        for frame in frames:
            out.datas.append(frame.data)
            out.recv_ns.append(frame.recv_ns)
        return out

    def __iter__(self) -> Iterator[Frame]:
        return map(Frame, self.datas, self.recv_ns)

    def __len__(self) -> int:
        return len(self.datas)

    def clear(self) -> None:
        """Be empty."""
        self.datas.clear()
        self.recv_ns.clear()


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection was lost, or could not be made; the feed tries again by itself."""

    recv_ns: int
    cause: str
