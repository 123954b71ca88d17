"""The status page's middle: values to HTML. Everything that comes from outside is escaped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from executor.rescale import NEW_RULES
from executor.telemetry import ills

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --warn: #b26a00; --good: #1b7f3b; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff7b72; --warn: #e3b341; --good: #56d364; } }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
h1 { font-size: 1.35rem; margin: .2rem 0 .6rem; } h2 { font-size: 1rem; margin: 0 0 .4rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: .8rem; }
.card { border: 1px solid var(--line); border-radius: .6rem; padding: .8rem; overflow-x: auto; margin-bottom: .8rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .8rem; margin: 0; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; font-size: .92em; }
th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-top: 1px solid var(--line); vertical-align: top; }
th { border: 0; font-weight: 600; opacity: .7; } td:first-child { white-space: nowrap; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.bad { color: var(--bad); } .warn { color: var(--warn); } .good { color: var(--good); } .dim { opacity: .7; }
.banner { border: 1px solid currentColor; border-radius: .6rem; padding: .6rem .8rem; font-weight: 600; }
"""
_CLASSES = {"critical": "bad", "warning": "warn", "info": "dim"}
Row = tuple[str, str]


def middle(values: Sequence[dict[str, Any]], now_s: float) -> str:
    """All contracts, one below the other; of several, an overview first."""
    return (_overview(values) if len(values) > 1 else "") + "".join(_symbol(one, now_s) for one in values)


def _overview(values: Sequence[dict[str, Any]]) -> str:
    rows = []
    for one in values:
        found = ills(one)
        state = _span("bad", "; ".join(found)) if found else _span("good", "all is well")
        protection = one.get("protection")
        stop = "" if protection is None else protection["stop"]
        rows.append((_text(one["symbol"]), _text(one.get("position", "unknown")), _text(stop), state))
    return _table("Contracts", ("contract", "position", "stop", "state"), rows, "")


def _symbol(one: dict[str, Any], now_s: float) -> str:
    found = ills(one)
    banner = f'<p class="bad banner" role="alert">{"<br>".join(map(_text, found))}</p>' if found else ""
    if "counts" not in one:
        return f"<section><h1>{_text(one['symbol'])} <span class=dim>{_text(one['mode'])}</span></h1>{banner}</section>"
    cards = [
        _card("Account", _account(one)),
        _card("Position", _position(one)),
        _card("Council", _council(one)),
        _card("Feed, registry and health", _parts(one)),
    ]
    head = f"<h1>{_text(one['symbol'])} <span class=dim>{_text(one['mode'])}, session {one['session']}</span></h1>"
    return (
        f'<section>{head}{banner}<div class="cards">{"".join(cards)}</div>'
        f"{_decisions(one.get('decisions', ()))}{_remarks(one.get('remarks', ()), now_s)}</section>"
    )


def _account(one: dict[str, Any]) -> Iterable[Row]:
    counts = one["counts"]
    yield "equity", _known(one["equity"], " USDT")
    yield "high-water mark", _known(one["high_water"], " USDT")
    yield "at the day's start", _known(one["day_equity"], " USDT")
    yield "net, this session", f"{float(counts['net_pnl']):+.4f} USDT in {counts['closed']} closed positions"
    others = one.get("others")
    if others is not None and float(others["notional"]):
        held = f"{float(others['notional']):,.2f} USDT, {float(others['risk']):,.2f} at risk"
        yield "other contracts", _text(held)
    yield "orders and fills", f"{counts['orders']} and {counts['fills']}"
    if one["killed"]:
        yield "entries", _span("bad", f"killed: {one['killed']}")
    elif one["paused"]:
        yield "entries", _span("warn", "paused: " + "; ".join(one["paused"]))
    elif one.get("rules") or one["venue"]:
        yield "entries", _span("warn", "stopped: contract rules" if one.get("rules") else "stopped: venue not ready")
    else:
        yield "entries", _span("good", "allowed")


def _position(one: dict[str, Any]) -> Iterable[Row]:
    protection = one["protection"]
    if protection is None:
        yield "position", "flat"
    else:
        yield "position", _text(f"{one['position']} at {float(protection['average']):.8g}")
        yield "stop", _text(protection["stop"])
        yield "target", _text(protection["target"])
        if protection["whole"]:
            yield "protection", _span("good", "confirmed for the whole position")
        else:
            what = f"{protection['covered']} covered; open for {protection['naked_ms']} ms"
            yield "protection", _span("bad", what)
    yield "entry order", _text(one["entry"] or "none")


def _council(one: dict[str, Any]) -> Iterable[Row]:
    council, pending, decided = one["council"], one["pending_council"], one["last_decision"]
    if council is None:
        yield "council", _span("warn", "none")
    else:
        gate = {True: "gate passed", False: "gate not passed"}.get(council["gate_passed"], "gate unknown")
        yield "council", _text(f"version {council['version']} ({council['content_hash'][:12]}), {gate}")
    if pending is not None:
        yield "in the shadow", _text(f"version {pending['version']}, {one['shadow_left']} bars left")
    vote = decided["vote"] if decided else None
    if vote is not None:
        yield "last vote", _text(f"{vote['reason']}; confidence {vote['confidence']:.3f}")
        for said in vote["members"]:
            side = {1: "long", -1: "short"}.get(said["side"], "no vote")
            yield f"rank {said['rank']}", _text(f"{side} (long {said['long']:.3f}, short {said['short']:.3f})")


def _parts(one: dict[str, Any]) -> Iterable[Row]:
    feed, registry, health = one.get("feed"), one.get("registry"), one.get("health")
    if feed is None:
        yield "feed", "the lake"
    else:
        age = "no frame yet" if feed["age_s"] is None else f"last frame {feed['age_s']:.1f} s ago"
        text = f"{age}, {feed['disconnects']} losses"
        yield "feed", _span("good" if feed["fresh"] else "bad", text)
    if one["venue"]:
        yield "venue", _span("warn", one["venue"])
    if one.get("rules"):
        yield "contract rules", _span("bad", f"{one['rules']}: {NEW_RULES}")
    if registry is not None:
        problem = registry["problem"]
        answer = "not asked yet" if registry["asked_s"] is None else "answers"
        yield "registry", _span("warn", problem) if problem else _span("good", answer)
    if health is not None:
        kind = "good" if health["scale"] == 1 else "bad" if health["scale"] == 0 else "warn"
        yield "health", _span(kind, health["text"])
    problems = one["journal_problems"]
    yield "journal", _span("bad", f"cannot be written or read ({problems})") if problems else _span("good", "written")
    voices = one.get("voices")
    if voices and (voices["notifications_failed"] or voices["notifications_dropped"]):
        text = f"{voices['notifications_failed']} failed, {voices['notifications_dropped']} dropped"
        yield "notifications", _span("warn", text)


def _decisions(decisions: Sequence[dict[str, Any]]) -> str:
    rows = []
    for decided in reversed(decisions):
        vote, shadow = decided["vote"], decided.get("shadow")
        said = vote["reason"] if vote else "not asked"
        if shadow:
            said += f" · shadow: {shadow['reason']}"
        done = f"entry {decided['link_id']}" if decided["link_id"] else decided["reason"]
        rows.append((_at(decided["open_ms"] / 1000), _text(said), _text(done)))
    return _table("Recent decisions", ("bar (UTC)", "vote", "what came of it"), rows, "no bar has closed yet")


def _remarks(remarks: Sequence[Sequence[Any]], now_s: float) -> str:
    rows = [
        (_text(_ago(now_s - at)), _span(_CLASSES.get(level, "warn"), level), _text(text))
        for at, level, _, text in reversed(remarks)
    ]
    return _table("Recent remarks", ("when", "level", "what"), rows, "nothing was said yet")


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    if not rows:
        return f'<div class="card"><h2>{title}</h2><p class="dim">{empty}</p></div>'
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="card"><h2>{title}</h2><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _card(title: str, rows: Iterable[Row]) -> str:
    body = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return f'<div class="card"><h2>{title}</h2><dl>{body}</dl></div>'


def _span(kind: str, text: str) -> str:
    return f'<span class="{kind}">{_text(text)}</span>'


def _text(value: object) -> str:
    return escape(str(value))


def _known(value: str | None, unit: str) -> str:
    return '<span class="warn">unknown</span>' if value is None else _text(f"{float(value):,.2f}{unit}")


def _at(seconds: float) -> str:
    return time.strftime("%m-%d %H:%M", time.gmtime(seconds))


def _ago(seconds: float) -> str:
    seconds = max(seconds, 0.0)
    if seconds < 90:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 5400 else f"{seconds / 3600:.0f} h ago"
