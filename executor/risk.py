"""What must never be exceeded: sizing, entry gates, daily loss, losing streaks and the kill switch.

Functions on :class:`executor.state.RiskState`; no I/O. Money is `Decimal`. Nothing here can forbid an exit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from executor.actions import Action, Alert, ReadEquity
from executor.events import AccountKilled, BarClosed, EquityRead
from executor.state import CoreConfig, Others, RiskState, Trade
from market.instruments import Instrument

_DAY_MS, _HOUR_MS = 86_400_000, 3_600_000


def on_equity(risk: RiskState, config: CoreConfig, read: EquityRead, now_ms: int) -> list[Action]:
    """Take a reading of the account; may trip the kill switch.

    An unknown reading makes equity unknown: it blocks entries, and neither kills nor clears anything. The kill switch
    needs `confirmations` readings in a row, each taken later than the one before.
    """
    equity = read.equity
    if equity is None or not equity.is_finite():
        risk.equity = None
        return [ReadEquity()] if risk.breaches else []
    actions = _adjust_for_transfers(risk, read.transfers)
    risk.equity, risk.equity_ms = equity, max(risk.equity_ms, now_ms)
    day = now_ms // _DAY_MS
    if day != risk.day or risk.day_equity is None:
        risk.day, risk.day_equity = day, equity
    risk.high_water = equity if risk.high_water is None else max(risk.high_water, equity)
    if risk.killed is not None:
        return actions
    floor = risk.high_water * (1 - config.max_drawdown)
    if equity >= floor:
        risk.breaches = 0
        return actions
    if read.as_of_ms <= risk.breach_ms:
        return [*actions, ReadEquity()]
    risk.breaches, risk.breach_ms = risk.breaches + 1, read.as_of_ms
    if risk.breaches < config.confirmations:
        return [*actions, ReadEquity()]
    risk.killed = f"equity {equity} is below {floor} (high-water mark {risk.high_water} less {config.max_drawdown:%})"
    risk.killed_ms = now_ms
    return [*actions, Alert("critical", "kill", f"kill switch: {risk.killed}; flattening, entries stop until resumed")]


def _adjust_for_transfers(risk: RiskState, transfers: Decimal) -> list[Action]:
    moved = Decimal(0) if risk.transfers is None else transfers - risk.transfers
    risk.transfers = transfers
    if not moved:
        return []
    if risk.high_water is not None:
        risk.high_water += moved
    if risk.day_equity is not None:
        risk.day_equity += moved
    return [Alert("info", "transfer", f"transfer of {moved} USDT: the high-water mark is now {risk.high_water}")]


def on_account_killed(risk: RiskState, event: AccountKilled) -> list[Action]:
    """The kill switch of another contract is this one's too: one account, one equity. A resume since then stands."""
    if risk.killed is not None or event.killed_ms <= risk.resumed_ms:
        return []
    risk.killed, risk.killed_ms = event.text, event.killed_ms
    return [Alert("critical", "kill", f"kill switch: {event.text}; flattening, entries stop until resumed")]


def resume(risk: RiskState, now_ms: int) -> list[Action]:
    """A person lifts every stop. The high-water mark starts again from the next reading: said aloud, never silent."""
    was = risk.killed
    risk.paused, risk.resumed_ms = {}, now_ms
    risk.losses, risk.cooldown_until_ms = 0, -1
    if was is None:
        return [Alert("info", "resume", "entries are allowed again")]
    text = f"kill switch released by command; the high-water mark {risk.high_water} starts again from current equity"
    risk.killed, risk.killed_ms, risk.breaches = None, -1, 0
    risk.high_water = risk.equity
    risk.day_equity = risk.equity
    return [Alert("warning", "resume", text), ReadEquity()]


def on_trade_closed(risk: RiskState, config: CoreConfig, net_pnl: Decimal, now_ms: int) -> list[Action]:
    """Count losses in a row; a streak starts the cooldown."""
    risk.losses = risk.losses + 1 if net_pnl < 0 else 0
    if not config.loss_streak or risk.losses < config.loss_streak:
        return []
    risk.losses = 0
    risk.cooldown_until_ms = now_ms + config.cooldown_bars * config.timeframe_ms
    text = f"{config.loss_streak} losses in a row: no entries for {config.cooldown_bars} bars"
    return [Alert("warning", "cooldown", text)]


def account_gate(risk: RiskState, config: CoreConfig, now_ms: int) -> str:
    """Why the account may not enter now; empty if it may."""
    if risk.killed is not None:
        return "kill switch"
    if risk.paused:
        return "paused: " + "; ".join(risk.paused[cause] for cause in sorted(risk.paused))
    if risk.equity is None:
        return "equity unknown"
    if now_ms - risk.equity_ms > config.equity_age_ms:
        return "equity stale"
    if wide := account_wide(risk, config):
        return wide
    if now_ms <= risk.cooldown_until_ms:
        return "cooldown after losses"
    return ""


def account_wide(risk: RiskState, config: CoreConfig) -> str:
    """What one contract has seen of the account that concerns all of them; empty if nothing."""
    if risk.breaches:
        return "drawdown being confirmed"
    if risk.equity is None or risk.day_equity is None:
        return ""
    return "daily loss limit" if risk.equity < risk.day_equity * (1 - config.max_daily_loss) else ""


def rate_gate(risk: RiskState, config: CoreConfig, now_ms: int) -> str:
    """Why no further entry order may be sent now; empty if one may."""
    recent = sum(at > now_ms - _HOUR_MS for at in risk.entries_ms)
    if not config.max_entries_per_hour or recent < config.max_entries_per_hour:
        return ""
    return f"rate limit: {recent} entries within the hour"


def note_entry(risk: RiskState, now_ms: int) -> None:
    """An entry order is sent."""
    risk.entries_ms = [*(at for at in risk.entries_ms if at > now_ms - _HOUR_MS), now_ms]


def market_gate(bar: BarClosed, config: CoreConfig) -> str:
    """Why the market may not be entered on this bar; empty if it may."""
    if bar.bid <= 0 or bar.ask <= 0:
        return "book unknown or empty"
    if bar.ask < bar.bid:
        return "book crossed"
    spread_bps = 2e4 * (bar.ask - bar.bid) / (bar.ask + bar.bid)
    if spread_bps > config.max_spread_bps:
        return f"spread {spread_bps:.1f} bps"
    if bar.book_age_ms < 0 or bar.book_age_ms > config.max_stale_ms:
        return "book stale"
    late_ms = max(bar.now_ms - bar.close_ms, 0) + bar.lag_ms
    if late_ms > config.max_bar_delay_ms:
        return f"bar {late_ms} ms late"
    return ""


@dataclass(frozen=True, slots=True)
class Room:
    """What the portfolio limits leave for one more entry, USDT; ``None`` for no limit.

    Attributes
    ----------
    notional, risk
        Value, and loss at the stop, fees included.
    text
        What is used already, for people.
    """

    notional: Decimal | None = None
    risk: Decimal | None = None
    text: str = ""


def room(config: CoreConfig, equity: Decimal, others: Others) -> Room:
    """What the other contracts' positions and pending entries leave of the portfolio limits."""
    value = equity * config.max_portfolio_leverage if config.max_portfolio_leverage else None
    loss = equity * config.max_portfolio_risk if config.max_portfolio_risk else None
    used = f"other contracts use {others.notional:.2f} USDT and risk {others.risk:.2f}"
    limits = f"at most {'any' if value is None else f'{value:.2f}'} and {'any' if loss is None else f'{loss:.2f}'}"
    return Room(
        None if value is None else value - others.notional,
        None if loss is None else loss - others.risk,
        f"{used}, {limits}",
    )


def loss_per_step(config: CoreConfig, rules: Instrument, limit: int, stop: int) -> Decimal:
    """USDT that a step loses between `limit` and `stop`, maker fee in and taker fee out included."""
    fees = rules.notional(limit, 1) * config.maker_fee + rules.notional(stop, 1) * config.taker_fee
    return rules.notional(abs(limit - stop), 1) + max(fees, Decimal(0))


def exposure(config: CoreConfig, rules: Instrument, trade: Trade | None) -> tuple[Decimal, Decimal]:
    """Value of a plan's position and of what of its entry may still fill, and what its stop would lose, USDT."""
    if trade is None:
        return Decimal(0), Decimal(0)
    pending = trade.size - trade.filled if trade.entry_live or not trade.filled else trade.expected - trade.filled
    steps = trade.open + max(pending, 0)
    return rules.notional(trade.limit, steps), steps * loss_per_step(config, rules, trade.limit, trade.stop)


def size_steps(
    config: CoreConfig, rules: Instrument, equity: Decimal, limit: int, stop: int, left: Room | None = None
) -> tuple[int, str]:
    """Size of an entry, in quantity steps.

    The loss when the stop is hit, maker fee in and taker fee out included, is at most `risk_per_trade` of equity; the
    notional at most `max_notional`, and its margin at `max_leverage` with the fees that the venue sets aside at most
    the equity; the venue's limits hold for the entry and for a market exit; value and loss fit into what the portfolio
    limits have left.

    Returns
    -------
    steps, reason
        0 and why, where the smallest order that the venue takes would be too much.
    """
    leverage = min(config.max_leverage, rules.max_leverage)
    loss, value = loss_per_step(config, rules, limit, stop), rules.notional(limit, 1)
    if equity <= 0 or loss <= 0:
        return 0, "no equity to risk"
    bounds = [equity * config.risk_per_trade / loss, equity / (value * _cost_of_value(config, leverage))]
    if config.max_notional:
        bounds.append(config.max_notional / value)
    steps = min(_whole(min(bounds)), rules.max_steps, rules.max_market_steps)
    if not _is_order(rules, limit, steps):
        return 0, "smallest order above the risk limit"
    left = left or Room()
    if left.notional is not None:
        steps = min(steps, _whole(left.notional / value))
    if left.risk is not None:
        steps = min(steps, _whole(left.risk / loss))
    return (steps, "") if _is_order(rules, limit, steps) else (0, f"portfolio cap: {left.text}")


def _cost_of_value(config: CoreConfig, leverage: Decimal) -> Decimal:
    """What the venue sets aside for an order, a USDT of its value: margin, and taker fees in and out.

    The fee out is taken at the bankruptcy price, a margin away: Bybit's order cost, as for a short. At the leverage of
    the venue an order of all the equity would be refused (110007).
    """
    return 1 / leverage + max(config.taker_fee, Decimal(0)) * (2 + 1 / leverage)


def _whole(steps: Decimal) -> int:
    return max(int(steps.to_integral_value(ROUND_FLOOR)), 0)


def _is_order(rules: Instrument, limit: int, steps: int) -> bool:
    """Whether the venue would take it."""
    return steps >= max(rules.min_steps, 1) and rules.notional(limit, steps) >= rules.min_notional
