"""The flow ``compact``: past days of the lake in one file each, and, if a person wants that, old days removed."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows import runtime
from market import Compacted, Lake, Retention
from market import compact as compact_symbol
from market import retain as retain_days


@flow(name="compact", timeout_seconds=4 * 3600)
def compact(
    symbols: Sequence[str] | None = None,
    keep_days: int | None = None,
    keep_gb: float | None = None,
    config: str | None = None,
) -> list[Compacted]:
    """Merge the small parts of past days; no row changes, and recording may go on meanwhile.

    Parameters
    ----------
    symbols
        Contracts; ``None`` takes all that the lake has.
    keep_days, keep_gb
        Remove whole days that are older, or oldest days until the lake is no larger; ``None`` removes nothing.
    config
        Settings file, for runs that Prefect starts.
    """
    settings = runtime.current(config)
    lake = Lake(settings.paths.lake)
    done = [one for symbol in symbols or lake.symbols() for one in compact_symbol(lake, symbol)]
    for one in done:
        sizes = f"{one.bytes_before / 1e6:.1f} MB to {one.bytes_after / 1e6:.1f} MB"
        runtime.say(f"{one.symbol} {one.date}: {one.parts} parts, {sizes}")
    limit = None if keep_gb is None else int(keep_gb * 1e9)
    removed = retain_days(lake, Retention(keep_days, limit))
    for symbol, date, size in removed:
        runtime.say(f"{symbol} {date}: removed, {size / 1e6:.1f} MB")
    create_table_artifact(
        key="compact",
        table=[
            {
                "symbol": one.symbol,
                "day": one.date,
                "parts": one.parts,
                "MB before": round(one.bytes_before / 1e6, 2),
                "MB after": round(one.bytes_after / 1e6, 2),
                "digest of the rows": one.digest[:16],
            }
            for one in done
        ]
        + [{"symbol": symbol, "day": date, "removed MB": round(size / 1e6, 2)} for symbol, date, size in removed],
        description="Past days merged, and days removed",
    )
    return done
