"""What goes wrong on purpose: faults that the local exchange can be given while it runs.

In a test::

    async with exchange.misbehave(drop={"on": "orderbook.200.*", "count": 3}) as (fault,):
        ...
        assert fault.hits == 3

    exchange.faults.add(Fault("timeout-after", on="/v5/order/create", count=1))  # until it has happened
    exchange.faults.clear()

From outside, ``POST /control`` takes the same words as JSON, and ``GET /control`` tells what is in force::

    curl -d '{"faults": [{"kind": "ret-code", "code": 10006, "on": "/v5/order/*", "seconds": 5}]}' …/control
    curl -d '{"clear": true}' …/control

``GET /control/schema`` gives the JSON schema and the list of kinds, which is :data:`KINDS`. Every fault has a scope
(``on``, a shell pattern over request paths, trade-socket operations or topics, and ``symbol``), a measure (``after``,
``count``, ``seconds``, ``probability``) and a seed: the same faults meet the same traffic in the same way. A fault
without a measure lasts until it is removed.

Requests are ``/v5/order/create`` and the like; an order that comes by the trade socket answers to that name and to
``order.create``. Reads have short names as well: ``balance``, ``position``, ``open-orders``, ``executions``. Topics are
those of the frames, ``orderbook.200.BTCUSDT`` or ``execution``; answers of the streams can be late by their operation,
``subscribe`` or ``auth``. Incidents happen at once, and once.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from market.errors import ConfigError
from simulation.exchange._misbehaving_kinds import KINDS, MESSAGES, READS, Kind
from simulation.exchange.numbers import parse
from simulation.exchange.orders import SIDES

__all__ = [
    "KINDS",
    "READS",
    "ActiveFault",
    "Control",
    "Effect",
    "Fault",
    "Misbehaviour",
    "schema",
    "spelled",
]

_MEASURE = {"kind", "on", "symbol", "after", "count", "seconds", "probability", "seed"}
_DEFAULT_MS = {"timeout-before": 60_000.0, "timeout-after": 60_000.0, "stall": 1_000.0}


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that goes wrong.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    on
        Shell pattern over what it may happen to.
    symbol
        Only this contract; any where empty.
    after
        Let so many pass first.
    count
        Happen at most so often.
    seconds
        Wall-clock seconds for which it is in force.
    probability
        With which it happens each time.
    seed
        Of its chances; the exchange's own unless given.
    ms
        Milliseconds, of the wall clock.
    sigma
        Standard deviation of the latency's logarithm; 0 for a constant.
    code, message
        ``retCode`` and ``retMsg``.
    status
        HTTP status.
    accepted
        Whether the request is carried out all the same.
    share
        Fraction of a size.
    ticks
        Ticks.
    side, qty, price
        Of an order, as a request has them.
    position
        ``positionIdx``: 0 in one-way mode, 1 and 2 in hedge mode.
    rate
        Funding rate.
    """

    kind: Kind
    on: str = "*"
    symbol: str = ""
    after: int = 0
    count: int | None = None
    seconds: float | None = None
    probability: float = 1.0
    seed: int | None = None
    ms: float = 0.0
    sigma: float = 0.0
    code: int = 10016
    message: str = ""
    status: int = 500
    accepted: bool = False
    share: float = 0.5
    ticks: int = 10
    side: str = "Buy"
    qty: str = ""
    price: str = ""
    position: int = 0
    rate: str = "0.0001"

    def __post_init__(self) -> None:
        strange = {name for name, _ in self.stated()} - _MEASURE - KINDS[self.kind].fields
        if strange:
            raise _impossible(f"a fault of kind {self.kind} does not know {sorted(strange)}")
        numbers = (self.ms, self.sigma, self.probability, self.share, self.seconds or 0.0)
        if not all(math.isfinite(number) for number in numbers):
            raise _impossible("a fault's numbers are finite")
        if self.after < 0 or (self.count is not None and self.count < 1) or (self.seconds or 0.0) < 0:
            raise _impossible("a fault's after, count and seconds cannot be negative, nor its count 0")
        if not 0 < self.probability <= 1 or not 0 < self.share <= 1:
            raise _impossible("a probability or share lies above 0 and is at most 1")
        if self.sigma < 0 or (self.ms < 0 and self.kind != "clock-skew"):
            raise _impossible("a delay is not negative")
        if self.side not in SIDES or self.position not in (0, 1, 2):
            raise _impossible("side is Buy or Sell, position 0, 1 or 2")
        if parse(self.rate) is None or any(text and parse(text) is None for text in (self.qty, self.price)):
            raise _impossible("rate, qty and price are numbers in strings")
        if self.kind.startswith("manual-") and not self.qty:
            raise _impossible(f"a {self.kind} needs a qty")

    def stated(self) -> Iterator[tuple[str, Any]]:
        """The fields that are not at their defaults."""
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if field.required or value != field.default:
                yield field.name, value

    @property
    def pause(self) -> float:
        """Its `ms`, or the kind's own, in seconds."""
        return (self.ms or _DEFAULT_MS.get(self.kind, 0.0)) / 1_000

    def meets(self, names: tuple[str, ...], symbol: str) -> bool:
        """Whether something of these names is within the scope."""
        pattern = READS.get(self.on, self.on) if KINDS[self.kind].group == "request" else self.on
        return self.symbol in ("", symbol) and any(fnmatchcase(name, pattern) for name in names)


def _impossible(what: str) -> ConfigError:
    return ConfigError(what, advice="GET /control/schema lists the kinds of faults and their fields")


class ActiveFault:
    """A fault in force.

    Parameters
    ----------
    number
        By which it is removed.
    fault
        What it does.
    seed
        Of its chances.
    """

    def __init__(self, number: int, fault: Fault, seed: int) -> None:
        self.number, self.fault = number, fault
        self.seen = self.hits = 0
        self.chance = random.Random(f"{seed if fault.seed is None else fault.seed}/{number}/{fault.kind}")
        self._until = math.inf if fault.seconds is None else time.monotonic() + fault.seconds

    @property
    def over(self) -> bool:
        """Whether it will not happen any more."""
        return self.hits >= (math.inf if self.fault.count is None else self.fault.count) or self.expired

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self._until

    def strikes(self, names: tuple[str, ...], symbol: str = "") -> bool:
        """Whether it happens to this one."""
        if self.over or not self.fault.meets(names, symbol):
            return False
        self.seen += 1
        if self.seen <= self.fault.after:
            return False
        if self.fault.probability < 1 and self.chance.random() >= self.fault.probability:
            return False
        self.hits += 1
        return True

    def delay(self) -> float:
        """Seconds of latency: log-normal about the median."""
        fault = self.fault
        return fault.pause * (math.exp(fault.sigma * self.chance.gauss(0.0, 1.0)) if fault.sigma else 1.0)

    def row(self) -> dict[str, Any]:
        """What ``/control`` tells of it."""
        return {"id": self.number, "hits": self.hits, "over": self.over} | dict(self.fault.stated())


class Effect(NamedTuple):
    """What becomes of one request.

    Attributes
    ----------
    delay
        Seconds before anything happens.
    lost
        ``before`` or ``after`` it is carried out, or empty.
    hold
        Seconds for which a lost request's line stays open.
    code, message
        Answer with this ``retCode``; 0 for none.
    status
        Answer with this HTTP status; 0 for none.
    accepted
        Whether it is carried out although it is answered with an error.
    """

    delay: float = 0.0
    lost: str = ""
    hold: float = 0.0
    code: int = 0
    message: str = ""
    status: int = 0
    accepted: bool = False

    @property
    def carried_out(self) -> bool:
        """Whether the request reaches the exchange."""
        return self.lost != "before" and (self.accepted or not (self.code or self.status))


class Misbehaviour:
    """The faults in force.

    Parameters
    ----------
    seed
        Of the chances of faults that bring none of their own.
    incident
        Makes an incident happen.
    """

    def __init__(self, seed: int, incident: Callable[[Fault], None]) -> None:
        self._seed, self._incident = seed, incident
        self._numbers = 0
        self.active: list[ActiveFault] = []

    # -- control ------------------------------------------------------------------------------------------------------

    def add(self, fault: Fault) -> ActiveFault:
        """Put a fault in force; an incident happens at once."""
        self._numbers += 1
        active = ActiveFault(self._numbers, fault, self._seed)
        if KINDS[fault.kind].group == "incident":
            self._incident(fault)
            active.hits = 1
            return active
        self.active = [other for other in self.active if not other.over]
        self.active.append(active)
        return active

    def remove(self, *numbers: int) -> None:
        """End faults by their numbers; those that are over already are no mistake."""
        self.active = [fault for fault in self.active if fault.number not in numbers]

    def clear(self) -> None:
        """End all faults."""
        self.active = []

    def rows(self) -> list[dict[str, Any]]:
        """What ``/control`` tells."""
        return [active.row() for active in self.active]

    # -- questions ----------------------------------------------------------------------------------------------------

    def strike(self, names: tuple[str, ...], symbol: str, *kinds: str) -> ActiveFault | None:
        """The first fault of these kinds that happens to something."""
        for active in self.active:
            if active.fault.kind in kinds and active.strikes(names, symbol):
                return active
        return None

    def request(self, names: tuple[str, ...], symbol: str = "", *, signed: bool = True, trade: bool = False) -> Effect:
        """What becomes of a request; the first fault that loses or answers it decides, latencies add up."""
        effect = Effect()
        for active in self.active:
            fault = active.fault
            if KINDS[fault.kind].group != "request" or (fault.kind == "maintenance" and not signed):
                continue
            if (fault.kind != "latency" and (effect.lost or effect.code or effect.status)) or not active.strikes(
                names, symbol
            ):
                continue
            effect = _add(effect, active, trade=trade)
        return effect

    @property
    def touches_frames(self) -> bool:
        """Whether any frame must be looked at."""
        return any(KINDS[a.fault.kind].group == "frame" or a.fault.kind == "latency" for a in self.active)

    @property
    def skew_ms(self) -> int:
        """By how much the exchange's wall clock is ahead."""
        return round(sum(a.fault.ms for a in self.active if a.fault.kind == "clock-skew" and not a.over))

    @property
    def maintenance(self) -> bool:
        """Whether the exchange is closed for maintenance."""
        return any(a.fault.kind == "maintenance" and not a.over for a in self.active)


def _add(effect: Effect, active: ActiveFault, *, trade: bool) -> Effect:
    fault = active.fault
    match fault.kind:
        case "latency":
            return effect._replace(delay=effect.delay + active.delay())
        case "timeout-before" | "timeout-after":
            return effect._replace(lost=fault.kind.removeprefix("timeout-"), hold=fault.pause)
        case "http-status":
            return effect._replace(status=fault.status, accepted=fault.accepted)
        case "maintenance":
            code = 10019 if trade else 10016
            return effect._replace(code=code, message=MESSAGES[code] if trade else "Service is restarting")
        case _:
            message = fault.message or MESSAGES.get(fault.code, "")
            return effect._replace(code=fault.code, message=message, accepted=fault.accepted)


def spelled(words: Mapping[str, Any]) -> list[Fault]:
    """Faults from keyword arguments: ``kind_with_underscores=value``.

    A value is a mapping of fields, ``True`` for the defaults, a whole number for a count, or a fraction for a
    probability.

    Raises
    ------
    ConfigError
        There is no such kind, or it does not know a field.
    """
    faults = []
    for word, value in words.items():
        kind = word.replace("_", "-")
        if isinstance(value, Mapping):
            fields = dict(value)
        elif value is True:
            fields = {}
        else:
            fields = {"count" if isinstance(value, int) else "probability": value}
        try:
            faults.append(msgspec.convert({"kind": kind} | fields, Fault))
        except msgspec.ValidationError as error:
            raise _impossible(str(error)) from error
    return faults


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``POST /control`` takes.

    Attributes
    ----------
    speed
        Market seconds a second.
    faults
        To put in force.
    clear
        Faults to end before: all, or these numbers.
    """

    speed: float | None = None
    faults: list[Fault] = []
    clear: bool | list[int] = False


def schema() -> dict[str, Any]:
    """What ``GET /control/schema`` tells."""
    kinds = {
        kind: {"happens_to": meaning.group, "what": meaning.what, "fields": sorted(meaning.fields)}
        for kind, meaning in KINDS.items()
    }
    return {"schema": msgspec.json.schema(Control), "kinds": kinds, "measure": sorted(_MEASURE), "reads": READS}
