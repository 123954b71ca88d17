"""The recorder's counters for Prometheus, on loopback unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from market.counts import RecorderCounts
from market.errors import ConfigError

#: Name, help and value of what only grows.
_COUNTERS: tuple[tuple[str, str, Callable[[RecorderCounts], float]], ...] = (
    ("frames", "Frames received", lambda counts: counts.frames),
    ("frame_bytes", "Bytes of frames received", lambda counts: counts.frame_bytes),
    ("level_changes", "Changes of book levels received", lambda counts: counts.level_changes),
    ("trades", "Trades received", lambda counts: counts.trades),
    ("liquidations", "Liquidations received", lambda counts: counts.liquidations),
    ("gaps", "Times that a book became unknown", lambda counts: counts.gaps),
    ("disconnects", "Lost connections and failed attempts", lambda counts: counts.disconnects),
    ("problems", "Frames that were left out", lambda counts: counts.problems),
    ("clock_steps", "Times that the local clock was set", lambda counts: counts.clock_steps),
    ("recovered_rows", "Rows taken from the journal of a killed session", lambda counts: counts.recovered),
    ("parts", "Lake parts sealed", lambda counts: counts.parts),
    ("part_bytes", "Bytes of lake parts sealed", lambda counts: counts.part_bytes),
)
#: Name, help and value of what moves both ways; ``None``: not known yet, so not shown.
_GAUGES: tuple[tuple[str, str, Callable[[RecorderCounts], float | None]], ...] = (
    ("lag_seconds", "Receipt of the last book message after its making", lambda c: _seconds(c.lag_ms)),
    ("clock_seconds", "Greatest exchange time received", lambda c: None if c.clock_ms < 0 else c.clock_ms / 1000),
    ("journal_sync_seconds", "Duration of the last sync of the journal", lambda counts: counts.sync_seconds),
    ("disk_free_bytes", "Left on the disk of the lake", lambda c: None if c.free_bytes < 0 else c.free_bytes),
)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


class RecorderCollector(Collector):
    """Turns the latest counts into metrics whenever Prometheus asks.

    Parameters
    ----------
    counts
        Gives them.
    """

    def __init__(self, counts: Callable[[], RecorderCounts]) -> None:
        self._counts = counts

    def collect(self) -> list[Metric]:
        """All metrics."""
        counts = self._counts()
        metrics: list[Metric] = []
        for name, text, count in _COUNTERS:
            metrics.append(CounterMetricFamily(f"purplesky_recorder_{name}", text, value=count(counts)))
        for name, text, gauge in _GAUGES:
            value = gauge(counts)
            if value is not None:
                metrics.append(GaugeMetricFamily(f"purplesky_recorder_{name}", text, value=value))
        checks = CounterMetricFamily(
            "purplesky_recorder_book_checks", "Comparisons with the REST book", labels=["outcome"]
        )
        for outcome, number in counts.checks.items():
            checks.add_metric([outcome], number)
        metrics.append(checks)
        return metrics


class MetricsServer(AbstractContextManager["MetricsServer"]):
    """Serves a recorder's metrics at ``http://<host>:<port>/metrics`` in a thread.

    Parameters
    ----------
    counts
        Gives the latest counts.
    port
        0 takes a free one.
    host
        Loopback unless Prometheus runs on another machine.

    Raises
    ------
    ConfigError
        The port cannot be served.
    """

    def __init__(self, counts: Callable[[], RecorderCounts], port: int, host: str = "127.0.0.1") -> None:
        registry = CollectorRegistry()
        registry.register(RecorderCollector(counts))
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(
                f"port {port} for metrics cannot be served ({error.strerror})", advice="Choose another port"
            ) from error
        self.port = int(self._server.server_port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
