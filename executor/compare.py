"""``purplesky compare``: a session's order plans once more, through the fill model on the captured market.

The plans are those that the session sent (its journal, run again through the core, tells them); what becomes of them in
the simulator is put beside what became of them at the venue. Where the two differ, the fill model is wrong, or its
parameters are: those that the session itself measured, and the latency that explains most fills, are proposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import median

import msgspec
import numpy as np
import numpy.typing as npt

from council.plan import DIRECTIONAL
from executor.actions import PlaceEntry, TradeClosed
from executor.core import Core
from executor.events import Filled, OrderAccepted, decode_event
from executor.export import find_session
from executor.reader import JournalReader
from executor.replay import AnyCouncil
from executor.state import CoreConfig, CoreState, Trade
from market.errors import ExecutorError
from market.events import TRADE, EventBatch
from market.instruments import Instrument
from market.lake import Lake
from settings import Settings
from simulation import FillModel, Plans, simulate

#: Latencies that are tried, ms, beside the one in the settings.
_LATENCIES = (0, 10, 25, 50, 100, 200, 400)
#: Times after an entry at which the market is looked at again, ms.
HORIZONS_MS = (1_000, 10_000, 60_000)


@dataclass(slots=True)
class Plan:
    """A plan as it was sent, and what it came to at the venue; `closed` is ``None`` where that is not known."""

    trade: Trade
    sent_ms: int
    accepted_ms: int | None = None
    entry_ms: int | None = None
    closed: TradeClosed | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One side of the comparison, over the same plans; ``None`` unknown, money in USDT.

    Attributes
    ----------
    price
        Mean entry price of what filled, by size.
    markout_bps
        Median move of the last price in the position's favour after its first fill, for each of :data:`HORIZONS_MS`.
    net
        After fees, without funding.
    """

    plans: int
    filled: int
    steps: int
    price: float | None
    markout_bps: tuple[float | None, ...]
    fees: float
    net: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Live against simulated.

    Attributes
    ----------
    agree
        Plans of which both say the same: filled or not, and how many steps.
    left_out
        Plans whose simulated life touches an unknown stretch of the market, or that had not ended.
    proposals
        Settings, by name, that the session speaks for.
    """

    session: int
    symbol: str
    live: Side
    simulated: Side
    agree: int
    left_out: int
    proposals: dict[str, str]

    def text(self) -> str:
        """For people."""
        live, other = self.live, self.simulated
        rows = [
            ("plans", str(live.plans), str(other.plans)),
            ("filled", str(live.filled), str(other.filled)),
            ("steps filled", str(live.steps), str(other.steps)),
            ("mean entry price", _shown(live.price), _shown(other.price)),
            *(
                (f"markout {horizon // 1000} s, bps", _shown(a, 2), _shown(b, 2))
                for horizon, a, b in zip(HORIZONS_MS, live.markout_bps, other.markout_bps)
            ),
            ("fees, USDT", f"{live.fees:.4f}", f"{other.fees:.4f}"),
            ("net without funding, USDT", f"{live.net:+.4f}", f"{other.net:+.4f}"),
        ]
        lines = [f"session {self.session} of {self.symbol}", f"{'':<26}{'live':>14}{'simulated':>14}"]
        lines += [f"{name:<26}{a:>14}{b:>14}" for name, a, b in rows]
        lines.append(f"the same fill in {self.agree} of {live.plans} plans; {self.left_out} left out")
        lines += [f"proposed: {name} = {value}" for name, value in self.proposals.items()]
        return "\n".join(lines if self.proposals else [*lines, "the settings' fill model fits"])


def compare_session(settings: Settings, symbol: str, session: str) -> Comparison:
    """Compare a session with the simulator.

    Raises
    ------
    ExecutorError
        There is no such session, or it sent no order.
    LakeError
        The lake does not hold its market.
    """
    reader, number = find_session(settings, symbol, session)
    try:
        plans, fills, rules = _plans(reader, number, AnyCouncil(settings.paths.executor / "councils"))
    finally:
        reader.close()
    if not plans:
        raise ExecutorError(f"session {number} of {symbol} sent no order", advice="Compare a session that did")
    costs = settings.costs
    model = FillModel(costs.order_latency_ms, float(costs.maker_fee), float(costs.taker_fee))
    events = _market(Lake(settings.paths.lake), symbol, plans)
    outcome = simulate([events], _columns(plans), model)
    known = np.array([plan.closed is not None for plan in plans]) & np.isfinite(outcome.net_return)
    chosen = [plan for plan, yes in zip(plans, known) if yes]
    live_steps = np.array([plan.closed.filled for plan in chosen if plan.closed], np.int64)
    trades = events.kind == TRADE
    tape = _Tape(np.maximum.accumulate(events.time_ms[trades]), events.price[trades])
    sides = np.array([plan.trade.side for plan in chosen], np.int64)
    worth = float(rules.notional(1, 1))
    live = _side(
        [plan.entry_ms if plan.closed and plan.closed.filled else None for plan in chosen],
        sides,
        live_steps,
        np.array([plan.closed.entry_value for plan in chosen if plan.closed], np.int64),
        sum(float(plan.closed.fees) for plan in chosen if plan.closed),
        sum(float(plan.closed.net_pnl + plan.closed.funding) for plan in chosen if plan.closed),
        tape,
        rules,
    )
    filled, value = outcome.filled[known], outcome.entry_value[known]
    gross = sides * (outcome.exit_value[known] - value)
    simulated = _side(
        [int(ms) if steps else None for ms, steps in zip(outcome.entry_ms[known], filled)],
        sides,
        filled,
        value,
        float(outcome.fees[known].sum()) * worth,
        float((gross - outcome.fees[known]).sum()) * worth,
        tape,
        rules,
    )
    proposals = _measured(settings, fills, rules) | _explained(model, events, chosen, live_steps)
    agree = int((live_steps == filled).sum())
    return Comparison(number, symbol, live, simulated, agree, len(plans) - len(chosen), proposals)


def _plans(reader: JournalReader, session: int, councils: AnyCouncil) -> tuple[list[Plan], list[Filled], Instrument]:
    """Run the session again and note each plan as it was sent."""
    row = reader.session(session)
    core = Core(msgspec.json.decode(row.config, type=CoreConfig), councils, CoreState.load(row.state))
    plans: dict[str, Plan] = {}
    fills: list[Filled] = []
    for _, text, _ in reader.turns(session):
        event = decode_event(text)
        actions = core.on(event)
        match event:
            case OrderAccepted(link_id=link) if link in plans and plans[link].accepted_ms is None:
                plans[link].accepted_ms = event.now_ms
            case Filled():
                fills.append(event)
                if event.role == "entry" and event.link_id in plans and plans[event.link_id].entry_ms is None:
                    plans[event.link_id].entry_ms = event.time_ms
            case _:
                pass
        for action in actions:
            if isinstance(action, PlaceEntry) and core.state.trade is not None:
                plans.setdefault(action.link_id, Plan(msgspec.structs.replace(core.state.trade), core.state.now_ms))
            elif isinstance(action, TradeClosed) and action.link_id in plans:
                plans[action.link_id].closed = action
    return list(plans.values()), fills, core.rules


def _columns(plans: Sequence[Plan]) -> Plans:
    trades = [plan.trade for plan in plans]

    def column(name: str) -> npt.NDArray[np.int64]:
        return np.array([getattr(trade, name) for trade in trades], np.int64)

    return Plans(
        decide_ms=column("decided_ms"),
        side=column("side").astype(np.int8),
        limit=column("limit"),
        stop=column("stop"),
        target=column("target"),
        size=column("size"),
        tif_ms=column("tif_ms"),
        hold_ms=column("hold_ms"),
        taking=np.array([trade.style == DIRECTIONAL for trade in trades], np.int8),
        target_maker=np.array([trade.target_maker for trade in trades], np.int8),
    )


def _market(lake: Lake, symbol: str, plans: Sequence[Plan]) -> EventBatch:
    """The captured market around the plans' lives."""
    start = min(plan.trade.decided_ms for plan in plans)
    end = max(plan.trade.decided_ms + plan.trade.tif_ms + plan.trade.hold_ms for plan in plans)
    return EventBatch.concat(lake.events(symbol, start, end + 2 * HORIZONS_MS[-1], from_snapshot=True))


@dataclass(frozen=True, slots=True)
class _Tape:
    """Trades: running maximum of their time, and price in ticks."""

    time_ms: npt.NDArray[np.int64]
    price: npt.NDArray[np.int64]

    def at(self, time_ms: int) -> int | None:
        """The last price at a time; ``None`` before the first trade and after the last one."""
        row = int(np.searchsorted(self.time_ms, time_ms, side="right")) - 1
        return int(self.price[row]) if 0 <= row < self.price.size - 1 else None


def _side(
    entries: Sequence[int | None],
    sides: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
    value: npt.NDArray[np.int64],
    fees: float,
    net: float,
    tape: _Tape,
    rules: Instrument,
) -> Side:
    total = int(steps.sum())
    markouts: list[float | None] = []
    for horizon in HORIZONS_MS:
        moves = []
        for entry_ms, side, size, paid in zip(entries, sides, steps, value):
            later = tape.at(entry_ms + horizon) if entry_ms is not None and size else None
            if later is not None:
                moves.append(1e4 * int(side) * (later * int(size) / int(paid) - 1))
        markouts.append(median(moves) if moves else None)
    price = float(rules.tick_size) * int(value.sum()) / total if total else None
    return Side(len(steps), int((steps > 0).sum()), total, price, tuple(markouts), fees, net)


def _measured(settings: Settings, fills: Sequence[Filled], rules: Instrument) -> dict[str, str]:
    """Fees that were charged, where they are not those of the settings."""
    found: dict[str, str] = {}
    for name, ours in (("maker_fee", settings.costs.maker_fee), ("taker_fee", settings.costs.taker_fee)):
        own = [fill for fill in fills if fill.maker == (name == "maker_fee")]
        value = sum((rules.notional(fill.price, fill.size) for fill in own), Decimal(0))
        if not value:
            continue
        rate = (sum((fill.fee for fill in own), Decimal(0)) / value).quantize(Decimal("0.000001"))
        if abs(rate - ours) > Decimal("0.000005"):
            found[f"costs.{name}"] = str(rate.normalize())
    return found


def _explained(
    model: FillModel, events: EventBatch, plans: Sequence[Plan], live: npt.NDArray[np.int64]
) -> dict[str, str]:
    """The latency with which most plans fill as they did, if it explains more than the one in the settings.

    The time until the venue acknowledged is one of those that are tried; it is known to a frame only.
    """

    def agreeing(latency_ms: int) -> int:
        simulated = simulate([events], _columns(plans), replace(model, latency_ms=latency_ms))
        return int((simulated.filled == live).sum())

    if not plans:
        return {}
    waits = [plan.accepted_ms - plan.sent_ms for plan in plans if plan.accepted_ms is not None]
    tried = {*_LATENCIES, model.latency_ms, *([round(median(waits))] if waits else [])}
    scores = {latency: agreeing(latency) for latency in sorted(tried)}
    best = max(scores, key=lambda latency: (scores[latency], -abs(latency - model.latency_ms)))
    return {"costs.order_latency_ms": str(best)} if scores[best] > scores[model.latency_ms] else {}


def _shown(value: float | None, digits: int = 4) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"
