"""What the executor says of itself, for people and for whoever watches it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from executor.reader import post_command
from executor.rescale import NEW_RULES
from executor.session import Session
from market.errors import ExecutorError
from settings import Settings

#: Where a session's journal lies, by how it trades; the first one that exists is meant where nobody says which.
MODES = ("live", "dry-run", "lake")
_FILE = "status.json"
_COMMANDS = ("halt", "resume", "flatten")
#: What a status says for :func:`status_text`; the rest is for those whom it interests.
_NEEDED = frozenset(
    {"symbol", "mode", "running", "pid", "session", "written_s", "council", "entry", "position", "protection", "equity"}
    | {"high_water", "killed", "paused", "health", "counts", "last_decision", "last_alert", "recovered"}
)


def folder_of(settings: Settings, symbol: str, mode: str) -> Path:
    """Where journal, state copies, lock and status of a symbol are kept."""
    return settings.paths.executor / mode / symbol


def status_values(session: Session, *, mode: str, running: bool, number: int) -> dict[str, Any]:
    """What there is to say, as plain JSON values; money as strings, unknown as ``None``."""
    state, rules = session.core.state, session.core.rules
    trade, risk, decided = state.trade, state.risk, session.last_decision
    return {
        "symbol": rules.symbol,
        "mode": mode,
        "running": running,
        "pid": os.getpid(),
        "session": number,
        "written_s": round(time.time(), 3),
        "venue_ms": state.now_ms,
        "council": msgspec.to_builtins(state.council),
        "pending_council": msgspec.to_builtins(state.pending),
        "shadow_left": state.shadow_left if state.pending else None,
        "entry": trade.entry if trade else None,
        "position": str(rules.quantity(trade.side * trade.open)) if trade else "0",
        "protection": _protection(session),
        "plan": msgspec.to_builtins(trade) if trade else None,
        "equity": None if risk.equity is None else str(risk.equity),
        "high_water": None if risk.high_water is None else str(risk.high_water),
        "day_equity": None if risk.day_equity is None else str(risk.day_equity),
        "killed": risk.killed,
        "paused": sorted(risk.paused.values()),
        "venue": state.venue,
        "rules": state.rules,
        "others": msgspec.to_builtins(state.others),
        "health": {"scale": state.health, "text": state.health_text or "as in training, as far as is known"},
        "counts": msgspec.to_builtins(state.counts),
        "last_decision": msgspec.to_builtins(decided) if decided else None,
        "last_alert": msgspec.to_builtins(session.last_alert) if session.last_alert else None,
        "journal_problems": session.problems,
        "recovered": session.journal.recovered,
    }


def _protection(session: Session) -> dict[str, Any] | None:
    """What stands between the position and a loss; ``None`` while flat."""
    trade, rules = session.core.state.trade, session.core.rules
    if trade is None or not trade.open:
        return None
    naked_ms = 0 if trade.naked_ms is None else max(session.core.state.now_ms - trade.naked_ms, 0)
    return {
        "stop": str(rules.price(trade.stop)),
        "target": str(rules.price(trade.target)) if trade.target else "none",
        "average": str(rules.price(1) * trade.entry_value / trade.filled),
        "covered": str(rules.quantity(min(trade.protected, trade.open))),
        "whole": trade.protected >= trade.open,
        "naked_ms": naked_ms,
    }


def write_status(folder: Path, values: dict[str, Any], tell: Callable[[str, str, str], None]) -> None:
    """Write ``status.json``; a reader never sees half of it."""
    beside = folder / f"{_FILE}.part"
    try:
        beside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        beside.replace(folder / _FILE)
    except OSError as error:
        # The status is a courtesy: a full disk is the journal's to report, and must not end a trading daemon.
        tell("warning", "status", f"{folder / _FILE} cannot be written ({error.strerror})")


class NeverRanError(ExecutorError):
    """No executor has ever written a status for a contract."""


def read_status(settings: Settings, symbol: str) -> dict[str, Any]:
    """The last status of a symbol, of the mode that wrote last.

    Raises
    ------
    NeverRanError
        The executor never ran on it.
    ExecutorError
        The file is damaged.
    """
    files = [file for mode in MODES if (file := folder_of(settings, symbol, mode) / _FILE).exists()]
    if not files:
        raise NeverRanError(
            f"the executor has not run on {symbol} (nothing below {settings.paths.executor})",
            advice=f"Start it with: purplesky execute --symbol {symbol}",
        )
    newest = max(files, key=lambda file: file.stat().st_mtime_ns)
    try:
        values = json.loads(newest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(newest, str(error)) from error
    if not isinstance(values, dict) or (missing := _NEEDED - values.keys()):
        # Of another version, or nobody's: what it does not say must not be taken for "nothing".
        raise _unreadable(newest, f"without {', '.join(sorted(missing))}" if isinstance(values, dict) else "no object")
    return values


def _unreadable(file: Path, why: str) -> ExecutorError:
    return ExecutorError(f"{file} cannot be read ({why})", advice="Wait for the executor to write it, or start it")


def traded_symbols(settings: Settings) -> list[str]:
    """Contracts whose executor runs; if none does, all that ever did.

    Raises
    ------
    ExecutorError
        The executor never ran.
    """
    known = _ever_traded(settings)
    if not known:
        raise ExecutorError(
            f"the executor has not run (nothing below {settings.paths.executor})",
            advice="Start it with: purplesky execute",
        )
    running = [symbol for symbol in known if _runs(read_status(settings, symbol))]
    return sorted(running or known)


def _ever_traded(settings: Settings) -> set[str]:
    folders = (settings.paths.executor / mode for mode in MODES)
    return {file.parent.name for folder in folders for file in folder.glob(f"*/{_FILE}")}


def _runs(status: dict[str, Any]) -> bool:
    return bool(status["running"]) and _alive(status["pid"])


def overview(settings: Settings) -> tuple[list[str], bool]:
    """The last status of every contract, the configured ones first; one that cannot be told hides none of the others.

    Returns
    -------
    texts, whole
        A text for each contract, and whether each could be told: a contract that never ran is told as that.
    """
    configured = dict.fromkeys(settings.market.symbols)
    texts, whole = list[str](), True
    for symbol in [*configured, *sorted(_ever_traded(settings) - configured.keys())]:
        try:
            texts.append(status_text(settings, symbol))
        except NeverRanError:
            texts.append(f"{symbol}  never ran; start it with: purplesky execute --symbol {symbol}")
        except ExecutorError as error:
            texts.append(f"{symbol}  unknown: {error.message}. {error.advice}")
            whole = False
    return texts, whole


def status_text(settings: Settings, symbol: str) -> str:
    """The last status, for people."""
    status = read_status(settings, symbol)
    age = max(0.0, time.time() - status["written_s"])
    alive = status["running"] and _alive(status["pid"])
    state = f"running, process {status['pid']}" if alive else "not running"
    council, counts = status["council"], status["counts"]
    decided, alert = status["last_decision"], status["last_alert"]
    entries = "killed: " + status["killed"] if status["killed"] else "; ".join(status["paused"]) or "allowed"
    version = f"version {council['version']} ({council['content_hash'][:12]})" if council else "none"
    lines = [
        f"{status['symbol']}  {status['mode']}, session {status['session']}  {state}, said {age:.0f} s ago",
        f"council    {version}",
        f"position   {status['position']}  entry {status['entry'] or 'none'}",
        f"equity     {status['equity'] or 'unknown'}  high-water mark {status['high_water'] or 'unknown'}",
        f"protection {_protection_text(status['protection'])}",
        f"entries    {entries}",
        f"health     {status['health']['text']}",
        f"so far     {counts['decisions']} decisions, {counts['orders']} orders, {counts['fills']} fills, "
        f"{counts['closed']} closed, net {counts['net_pnl']} USDT",
        f"last bar   {_decision_text(decided) if decided else 'none yet'}",
    ]
    lines += [f"{name:<10} {status[name]}" for name in ("failure", "venue") if status.get(name)]
    if status.get("rules"):
        lines.append(f"rules      {status['rules']}: {NEW_RULES}")
    if alert:
        lines.append(f"last alert {alert['level']}: {alert['text']}")
    if status["recovered"]:
        lines.append(f"recovered  {status['recovered']}")
    return "\n".join(lines)


def send_command(settings: Settings, symbol: str, name: str) -> str:
    """Leave a command for the executor of a symbol; it takes it within a second, or when it starts next.

    Parameters
    ----------
    name
        ``halt``, ``resume`` or ``flatten``.

    Raises
    ------
    ExecutorError
        The executor never ran on the symbol.
    """
    if name not in _COMMANDS:
        raise ExecutorError(f"{name!r} is no command", advice=f"Use one of {', '.join(_COMMANDS)}")
    status = read_status(settings, symbol)
    post_command(folder_of(settings, symbol, status["mode"]), name)
    running = status["running"] and _alive(status["pid"])
    when = "it is taken within a second" if running else "the executor is not running: it is taken at the next start"
    return f"{name} left for {symbol} ({status['mode']}); {when}"


def _protection_text(protection: dict[str, Any] | None) -> str:
    if protection is None:
        return "none needed"
    cover = "whole" if protection["whole"] else f"{protection['covered']} covered for {protection['naked_ms']} ms"
    return f"stop {protection['stop']}, target {protection['target']}, {cover}"


def _decision_text(decided: dict[str, Any]) -> str:
    vote = decided["vote"]
    said = vote["reason"] if vote else "not asked"
    return f"{decided['open_ms']}: {said}" + (f"; {decided['reason']}" if decided["reason"] else "; entry sent")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
