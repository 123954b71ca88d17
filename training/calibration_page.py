"""The page of a calibration: rates first, then what stopped the null markets, then every figure for machines."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict
from html import escape

import numpy as np

from training._style import STYLE
from training.calibration_rates import LEVEL, Calibration
from training.charts import chart, layer


def write_page(result: Calibration) -> None:
    """Write ``index.html`` and ``calibration.json``."""
    mood, word = ("good", "calibrated") if result.passed else ("bad", "not calibrated")
    rates = "".join(f"<li>{escape(one.text())}</li>" for one in (result.false_passes, *result.rates))
    size = "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in asdict(result.size).items())
    body = (
        f'<header class="{mood}"><h1>The gate: {word}</h1><p>At most {100 * LEVEL:g} % of markets in which there is '
        f"nothing to find may pass.</p></header><h2>How often it passed</h2><ul>{rates}</ul>"
        f"<h2>What stopped the null markets</h2>{_stopped(result)}{_figures(result)}"
        f'<h2>Size</h2><div class="table"><table class="pairs"><tbody>{size}<tr><td>time</td><td>'
        f"{result.seconds / 60:.0f} minutes of one process</td></tr></tbody></table></div>"
    )
    result.page.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Calibration of the gate</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n',
        encoding="utf-8",
    )
    plain = {
        "passed": result.passed,
        "false_passes": asdict(result.false_passes),
        "rates": [asdict(one) for one in result.rates],
        "size": asdict(result.size),
        "seconds": result.seconds,
        "outcomes": list(result.outcomes),
    }
    (result.page.parent / "calibration.json").write_text(json.dumps(plain, indent=1), encoding="utf-8")


def _stopped(result: Calibration) -> str:
    nulls = [one for one in result.outcomes if one["kind"] != "planted"]
    unmet = Counter(name for one in nulls for name in one["unmet"])
    alone = Counter(one["unmet"][0] for one in nulls if len(one["unmet"]) == 1)
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{count}</td><td>{alone[name]}</td></tr>" for name, count in unmet.most_common()
    )
    head = "<thead><tr><th>condition</th><th>not met</th><th>the only one</th></tr></thead>"
    return f'<div class="table"><table>{head}<tbody>{rows}</tbody></table></div>'


def _figures(result: Calibration) -> str:
    """The deflated Sharpe ratio of null and planted markets, side by side."""
    bins = np.linspace(0.0, 1.0, 21)
    layers = []
    for name, colour, planted in (("null markets", "path", False), ("planted markets", "main", True)):
        values = [one["figures"].get("dsr") for one in result.outcomes if (one["kind"] == "planted") is planted]
        known = [value for value in values if value is not None and math.isfinite(value)]
        heights, edges = np.histogram(known, bins=bins)
        share = heights / max(1, len(known))
        layers.append(layer("line", (edges[1:] + edges[:-1]) / 2, share, colour, name))
    return chart(
        layers,
        title="Deflated Sharpe ratio",
        note="Share of markets by the deflated Sharpe ratio of their council, in twentieths.",
        percent=True,
        x_percent=True,
    )
