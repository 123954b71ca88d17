"""``POST /v5/position/trading-stop``: stops of a position, or of a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_FLOOR

from simulation.exchange.desk import Desk
from simulation.exchange.listing import Listing
from simulation.exchange.order_requests import parse_stops
from simulation.exchange.orders import Refusal, Stops
from simulation.exchange.positions import Position
from simulation.exchange.requests import check_stops, need_category, need_idx, need_listing, price_by, ticks
from simulation.exchange.requests import need_amount as _amount
from simulation.exchange.routes import Params
from simulation.exchange.stops import MOST_PARTIAL


def set_trading_stop(params: Params, desk: Desk, listings: Mapping[str, Listing]) -> None:
    """Do what the request asks for.

    Raises
    ------
    Refusal
        With the code that Bybit documents for what is wrong.
    """
    need_category(params)
    listing = need_listing(params, listings)
    holding = desk.positions[listing.symbol]
    position = holding.at(need_idx(params, holding))
    stops = parse_stops(params, listing)
    if position.steps == 0:
        raise Refusal(10001, "can not set tp/sl/ts for zero position")
    if stops.mode == "Partial":
        _set_partial(params, desk, position, stops)
    else:
        _set_full(params, desk, position, stops)
    desk.flush()


def _given(params: Params, name: str) -> bool:
    return params.get(name) not in (None, "")


def _check(position: Position, stops: Stops) -> None:
    side = 0 if position.steps > 0 else 1
    check_stops(position.listing, side, price_by(position.listing, stops.profit_by), stops.profit, 0)
    check_stops(position.listing, side, price_by(position.listing, stops.loss_by), 0, stops.loss)


def _set_full(params: Params, desk: Desk, position: Position, stops: Stops) -> None:
    now = Stops(position.take_profit, position.stop_loss, position.profit_by, position.loss_by)
    wanted = Stops(
        stops.profit if _given(params, "takeProfit") else now.profit,
        stops.loss if _given(params, "stopLoss") else now.loss,
        stops.profit_by if _given(params, "tpTriggerBy") else now.profit_by,
        stops.loss_by if _given(params, "slTriggerBy") else now.loss_by,
    )
    trailing = _trailing(params, position)
    changed = (wanted.profit, wanted.loss) != (now.profit, now.loss)
    changed |= bool(wanted.profit) and wanted.profit_by != now.profit_by
    changed |= bool(wanted.loss) and wanted.loss_by != now.loss_by
    if not changed and trailing is None:
        raise Refusal(34040, "not modified")
    if changed:
        # What is kept has been passed or not as the market went; only what is asked for is checked.
        _check(position, Stops(
            wanted.profit if _given(params, "takeProfit") else 0, wanted.loss if _given(params, "stopLoss") else 0,
            wanted.profit_by, wanted.loss_by,
        ))  # fmt: skip
        desk.stops.set_full(position, wanted)
    if trailing is not None:
        desk.stops.set_trailing(position, *trailing)


def _trailing(params: Params, position: Position) -> tuple[int, int] | None:
    """Distance and activation price of a trailing stop, ticks; ``None`` where it stays as it is."""
    if not _given(params, "trailingStop"):
        return None
    listing = position.listing
    distance = ticks(listing, params["trailingStop"], "trailingStop")
    activation = ticks(listing, params.get("activePrice"), "activePrice")
    if not distance and not position.trailing:
        raise Refusal(34040, "not modified")
    if activation and (activation - listing.last_ticks) * position.sign <= 0:
        beyond = "higher" if position.sign > 0 else "lower"
        raise Refusal(10001, f"params error: activePrice should be {beyond} than the last price")
    return distance, activation


def _set_partial(params: Params, desk: Desk, position: Position, stops: Stops) -> None:
    if not stops:
        raise Refusal(10001, "params error: partial stops need takeProfit or stopLoss")
    sizes = {_size(params, position, name) for name, wanted in (("tp", stops.profit), ("sl", stops.loss)) if wanted}
    if len(sizes) != 1:
        raise Refusal(10001, "params error: tpSize and slSize must be equal")
    size = sizes.pop()
    if size > abs(position.steps):
        raise Refusal(
            110058, "You can't set take profit and stop loss due to insufficient size of remaining position size."
        )
    if desk.stops.partials(position) + bool(stops.profit) + bool(stops.loss) > MOST_PARTIAL:
        raise Refusal(110061, "Not allowed to have more than 20 TP/SLs under Partial tpSlMode")
    _check(position, stops)
    desk.stops.add_partial(position, stops, size)


def _size(params: Params, position: Position, name: str) -> int:
    """Steps of a partial stop; all of the position where none are given."""
    if not _given(params, f"{name}Size"):
        return abs(position.steps)
    amount = _amount(params, f"{name}Size")
    steps = int((amount / position.listing.instrument.qty_step).to_integral_value(ROUND_FLOOR))
    if steps < position.listing.instrument.min_steps:
        raise Refusal(10001, f"params error: {name}Size invalid")
    return steps
