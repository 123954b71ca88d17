"""How the parts of the REST API tell the router what they serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Params = Mapping[str, Any]


class Reply(NamedTuple):
    """A result with extra information beside it, as batch requests answer.

    Attributes
    ----------
    result
        The ``result`` of the answer.
    extra
        Its ``retExtInfo``.
    """

    result: Any
    extra: dict[str, Any]


class Route(NamedTuple):
    """One endpoint.

    Attributes
    ----------
    method
        ``GET`` or ``POST``.
    handle
        Takes the parameters, gives a result or a :class:`Reply`; raises a refusal.
    public
        Whether it is answered without a signature.
    message
        ``retMsg`` of a success.
    """

    method: str
    handle: Callable[[Params], Any]
    public: bool = False
    message: str = "OK"


def reads(handle: Callable[[Params], Any], *, message: str = "OK") -> Route:
    """A signed GET."""
    return Route("GET", handle, message=message)


def writes(handle: Callable[[Params], Any], *, message: str = "OK") -> Route:
    """A signed POST."""
    return Route("POST", handle, message=message)
