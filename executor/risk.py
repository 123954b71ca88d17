"""What must never be exceeded: sizing, entry gates, daily loss, losing streaks and the kill switch.

Functions on :class:`executor.state.RiskState`; no I/O. Money is `Decimal`. Nothing here can forbid an exit.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

from executor.actions import Action, Alert, ReadEquity
from executor.events import BarClosed, EquityRead
from executor.state import CoreConfig, RiskState
from market.instruments import Instrument

_DAY_MS = 86_400_000


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


def resume(risk: RiskState) -> list[Action]:
    """A person lifts every stop. The high-water mark starts again from the next reading: said aloud, never silent."""
    was = risk.killed
    risk.paused = {}
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
    if risk.breaches:
        return "drawdown being confirmed"
    if risk.day_equity is not None and risk.equity < risk.day_equity * (1 - config.max_daily_loss):
        return "daily loss limit"
    if now_ms <= risk.cooldown_until_ms:
        return "cooldown after losses"
    return ""


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


def size_steps(config: CoreConfig, rules: Instrument, equity: Decimal, limit: int, stop: int) -> tuple[int, str]:
    """Size of an entry, in quantity steps.

    The loss when the stop is hit, maker fee in and taker fee out included, is at most `risk_per_trade` of equity; the
    notional at most `max_leverage` times equity; the venue's limits hold for the entry and for a market exit.

    Returns
    -------
    steps, reason
        0 and why, where the smallest order that the venue takes would be too much.
    """
    leverage = min(config.max_leverage, rules.max_leverage)
    fees = rules.notional(limit, 1) * config.maker_fee + rules.notional(stop, 1) * config.taker_fee
    loss = rules.notional(abs(limit - stop), 1) + max(fees, Decimal(0))
    if equity <= 0 or loss <= 0:
        return 0, "no equity to risk"
    by_risk = equity * config.risk_per_trade / loss
    by_leverage = equity * leverage / rules.notional(limit, 1)
    steps = int(min(by_risk, by_leverage).to_integral_value(ROUND_FLOOR))
    steps = min(steps, rules.max_steps, rules.max_market_steps)
    if steps < max(rules.min_steps, 1) or rules.notional(limit, steps) < rules.min_notional:
        return 0, "smallest order above the risk limit"
    return steps, ""
