"""A plan under way when the contract rules change: the same prices and quantities, in other ticks and steps."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from executor.state import CoreConfig, CoreState, Trade
from market.errors import ExecutorError
from market.instruments import Instrument

#: What a person does when the venue has changed the rules of a contract.
NEW_RULES = (
    "no entries until the executor is started again with the new rules: live at any time, it goes on with its "
    "position; in dry-run once it is flat"
)
_ADVICE = "Close the position at the venue by hand, then move the journal away"


def carry_over(state: CoreState, config: bytes | None, rules: Instrument, *, simulated: bool) -> None:
    """Bring the state of a session under other rules over to those in force.

    A price between two of the new ticks becomes the nearest one: the venue will not have another. The guard then sees
    that its stop is not exactly there and sets it.

    Parameters
    ----------
    state
        Of the last session; changed in place.
    config
        Its configuration; ``None`` if there was no session.
    rules
        In force now.
    simulated
        The venue is our own paper broker, whose orders cannot be brought over.

    Raises
    ------
    ExecutorError
        A plan is under way that cannot be brought over.
    """
    if config is None:
        return
    old = msgspec.json.decode(config, type=CoreConfig).rules()
    if (old.tick_size, old.qty_step) == (rules.tick_size, rules.qty_step):
        return
    state.finished, state.last_values = [], b""
    trade = state.trade
    if trade is None:
        return
    if simulated:
        raise ExecutorError(
            f"the contract rules of {rules.symbol} changed while a simulated plan was under way",
            advice="Move its dry-run folder away: a new dry-run begins with a new purse",
        )
    _rescale(trade, old.tick_size / rules.tick_size, old.qty_step / rules.qty_step)


def _rescale(trade: Trade, tick: Decimal, step: Decimal) -> None:
    for name in ("size", "expected", "filled", "closed", "protected"):
        setattr(trade, name, _whole(name, getattr(trade, name) * step))
    trade.targets = {link: _whole("target", size * step) for link, size in trade.targets.items()}
    for name in ("limit", "stop", "target"):
        setattr(trade, name, round(getattr(trade, name) * tick))
    trade.entry_value = round(trade.entry_value * tick * step)
    trade.exit_value = round(trade.exit_value * tick * step)
    trade.atr *= float(tick)
    trade.early = []


def _whole(name: str, value: Decimal) -> int:
    if value != int(value):
        raise ExecutorError(f"{name} of the plan under way is no multiple of the new quantity step", advice=_ADVICE)
    return int(value)
