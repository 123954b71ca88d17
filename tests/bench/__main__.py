"""Run benchmarks and print their table: ``python -m tests.bench [ROOM | NAME]``."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import tests.bench
from tests.bench._harness import REGISTRY


def main(only: str | None) -> int:
    for module in pkgutil.iter_modules(tests.bench.__path__):
        if module.name.startswith("bench_"):
            importlib.import_module(f"tests.bench.{module.name}")
    chosen = [name for name in sorted(REGISTRY) if only is None or only in (name, name.split(".")[0])]
    if not chosen:
        rooms = ", ".join(sorted({name.split(".")[0] for name in REGISTRY}))
        print(f"error: no benchmarks for {only!r}. Choose one of: {rooms}.", file=sys.stderr)
        return 2
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"{'name':<28}{'value':>14} {'unit':<18}{'peer':>14}  {'ratio':>7}  input; peer")
    rows = []
    for name in chosen:
        row = REGISTRY[name]()
        rows.append(asdict(row))
        peer = "-" if row.peer_value is None else f"{row.peer_value:,.4g}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.3g}"
        print(
            f"{name:<28}{row.value:>14,.5g} {row.unit:<18}{peer:>14}  {ratio:>7}  {row.input}; {row.peer or 'no peer'}",
            flush=True,
        )
    results = Path("data/bench/results.json")
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"written to {results}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) > 1 else None))
