"""Councils small enough to reason about, and real registries."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest

from council import Council, Member, StrategyParams, TrainingProfile, TreeModel

ENGINE = ("spread_bps", "imbalance_1", "imbalance_5", "ofi", "rsi_14")
FEATURES = ("imbalance_5", "spread_bps", "rsi_14")
SPEC = "5" * 64
PARAMS = StrategyParams(offset_atr=0.25, stop_atr=1.0, target_atr=1.5, tif_bars=3, hold_bars=12)


def market(seed: int, rows: int = 400, features: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Features with unknown values and exact zeros, and an outcome that depends on the first."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, features))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[rng.random(values.shape) < 0.1] = 0.0
    return values, (np.nan_to_num(values[:, 0]) + rng.normal(size=rows) > 0).astype(np.int8)


def booster(seed: int, trees: int = 20, features: int = 3, names: Any = "auto", **params: Any) -> lgb.Booster:
    """A LightGBM model as training makes it."""
    values, wins = market(seed, features=features)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "num_leaves": 7, "seed": seed, **params}
    return lgb.train(settings, lgb.Dataset(values, wins, feature_name=names, params=settings), trees)


def constant(probability: float, features: int = len(FEATURES)) -> TreeModel:
    """A model that always says the same."""
    names = " ".join(f"Column_{index}" for index in range(features))
    tree = f"Tree=0\nnum_leaves=1\nnum_cat=0\nleaf_value={math.log(probability / (1 - probability))!r}\n\n"
    return TreeModel.parse(
        f"tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx={features - 1}\n"
        f"objective=binary sigmoid:1\nfeature_names={names}\nfeature_infos={names}\ntree_sizes={len(tree)}\n\n"
        f"{tree}end of trees\n"
    )


def trained_council(members: int = 3) -> Council:
    """A council of trained members."""
    return Council(
        members=tuple(
            Member(
                rank=rank,
                params=StrategyParams(0.1 * rank, 1.0 + rank, 2.0, rank, 10 + rank),
                threshold_long=0.5 + 0.02 * rank,
                threshold_short=0.55,
                models={
                    "long": TreeModel.from_booster(booster(rank, names=list(FEATURES))),
                    "short": TreeModel.from_booster(booster(rank + 100, names=list(FEATURES))),
                },
            )
            for rank in range(1, members + 1)
        ),
        quorum=0.5,
        engine_features=ENGINE,
        features=FEATURES,
    )


def manifest_fields(**changes: Any) -> dict[str, Any]:
    """What ``save_bundle`` wants beside the council."""
    values, _ = market(3, features=len(ENGINE))
    return {
        "symbol": "SYNUSDT",
        "timeframe": "5m",
        "levels": 200,
        "stall_ms": 60_000,
        "spec_hash": SPEC,
        "window_ms": (1_700_000_000_000, 1_700_086_400_000),
        "data_fingerprint": "f" * 64,
        "gate": {"passed": True, "dsr": 0.97, "pbo": 0.2, "reasons": ["deflated Sharpe ratio 0.97 > 0.95"]},
        "statistics": {"sharpe": np.float64(1.25), "sortino": math.inf, "trades": np.int64(40)},
        "profile": TrainingProfile.of(values, ENGINE),
        **changes,
    }


@pytest.fixture(scope="session")
def council() -> Council:
    return trained_council()


@pytest.fixture(scope="session")
def sqlite_uri(tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], Path]) -> str:
    """A registry in an SQLite file."""
    return f"sqlite:///{empty_registry(tmp_path_factory.mktemp('mlruns'))}"


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory: pytest.TempPathFactory, empty_registry: Callable[[Path], Path]) -> Iterator[str]:
    """A real MLflow server on loopback."""
    folder = tmp_path_factory.mktemp("server")
    empty_registry(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "a"),
    ]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    log = (folder / "log").open("wb")
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        _wait_until_up(f"http://127.0.0.1:{port}/health", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"no MLflow server: {log.read_text()[-2000:]}")
