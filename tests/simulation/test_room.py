"""The room's public face."""

from __future__ import annotations

import subprocess
import sys

import pytest

import simulation


def test_every_public_name_is_there() -> None:
    for name in simulation.__all__:
        assert getattr(simulation, name) is not None
    assert set(simulation.__all__) <= set(dir(simulation))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = simulation.nothing_of_the_kind


def test_the_fill_model_loads_neither_the_exchange_nor_the_pipeline() -> None:
    code = (
        "import sys, simulation; from simulation import simulate, PaperBroker, Account;"
        "heavy = {'pandas', 'prefect', 'mlflow', 'optuna', 'matplotlib', 'aiohttp', 'simulation.exchange'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
