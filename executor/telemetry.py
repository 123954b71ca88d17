"""The same values for Prometheus and for a watchdog: gauges, counters, and what is not well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

_COUNTS = {
    "bars": "Bars seen",
    "decisions": "Bars on which the council voted",
    "orders": "Entries sent",
    "fills": "Executions counted",
    "closed": "Positions closed",
}


def ills(values: dict[str, Any]) -> list[str]:
    """What a person should look at now; empty if all is well. What a person asked for is no ill."""
    found: list[str] = []
    if values.get("failure"):
        found.append(f"not looked after: {values['failure']}")
    if "counts" not in values:
        return found
    if values["killed"]:
        found.append(f"killed: {values['killed']}")
    if values["journal_problems"]:
        found.append("the journal cannot be written or read")
    protection = values["protection"]
    if protection is not None and not protection["whole"]:
        found.append(f"{protection['naked_ms']} ms without a confirmed stop for the whole position")
    feed = values.get("feed")
    if feed is not None and not feed["fresh"]:
        found.append("no market data" if feed["age_s"] is None else f"no market data for {feed['age_s']:.0f} s")
    if values["venue"]:
        found.append(f"venue: {values['venue']}")
    if values.get("rules"):
        found.append(f"contract rules: {values['rules']}")
    return found


class _Collector(Collector):
    def __init__(self, values: Sequence[dict[str, Any]]) -> None:
        self._failed = [one for one in values if one.get("failure")]
        self._values = [one for one in values if "counts" in one]

    def collect(self) -> Iterator[Metric]:
        for name, text in _COUNTS.items():
            counter = CounterMetricFamily(f"purplesky_executor_{name}", text, labels=["symbol", "mode"])
            for one in self._values:
                counter.add_metric([one["symbol"], one["mode"]], one["counts"][name])
            yield counter
        found: dict[str, GaugeMetricFamily] = {}
        for one in self._values:
            for name, text, value in _gauges(one):
                if value is None:
                    continue  # unknown is not shown: never as 0
                if name not in found:
                    found[name] = GaugeMetricFamily(f"purplesky_executor_{name}", text, labels=["symbol", "mode"])
                found[name].add_metric([one["symbol"], one["mode"]], value)
        failed = GaugeMetricFamily(
            "purplesky_executor_failed", "Contracts whose session ended before its time", labels=["symbol", "mode"]
        )
        for one in (*self._values, *self._failed):
            failed.add_metric([one["symbol"], one["mode"]], float(bool(one.get("failure"))))
        yield failed
        yield from found.values()


def _gauges(one: dict[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    protection, feed, registry = one["protection"], one.get("feed"), one.get("registry")
    yield "equity_usdt", "Equity with open profit and loss", _number(one["equity"])
    yield "high_water_usdt", "High-water mark, adjusted for transfers", _number(one["high_water"])
    yield (
        "net_pnl_usdt",
        "Closed positions of this session, after costs",
        _number(one["counts"]["net_pnl"]),
    )
    yield "position", "Signed size held", _number(one["position"])
    yield (
        "protected",
        "Whether a stop covers the whole position",
        float(not protection or protection["whole"]),
    )
    yield "killed", "Whether the kill switch has fired", float(bool(one["killed"]))
    yield "paused", "Reasons for which entries are stopped", float(len(one["paused"]))
    yield "healthy", "Whether nothing needs a person", float(not ills(one))
    yield "council_version", "Who decides", float(one["council"]["version"]) if one["council"] else None
    yield "venue_clock_seconds", "The venue's time", one["venue_ms"] / 1000 if one["venue_ms"] >= 0 else None
    if feed is not None:
        yield "feed_age_seconds", "Since the last frame", feed["age_s"]
        yield "feed_disconnects", "Losses of the connection in this session", float(feed["disconnects"])
    if registry is not None:
        yield "registry_up", "Whether the registry answered the last time", float(not registry["problem"])
    for name, value in (one.get("voices") or {}).items():
        yield name, "Log lines and notifications of this session", float(value) if value >= 0 else None
    scale = (one.get("health") or {}).get("scale")
    yield "health_scale", "Share of the usual risk that the health monitor leaves", scale


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def exposition(values: Sequence[dict[str, Any]]) -> tuple[bytes, str]:
    """Prometheus's text format, and its content type."""
    registry = CollectorRegistry()
    registry.register(_Collector(values))
    return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
