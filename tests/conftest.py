"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def recorded() -> Path:
    """The folder of recorded markets; the test skips where it is absent (the project ships none of it)."""
    folder = Path(os.environ.get("PURPLESKY_RECORDED", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no recorded markets at ../shared/data (or $PURPLESKY_RECORDED)")
    return folder
