"""What the tests of the market room share."""

from __future__ import annotations

import pytest

from market.bulk import warm_up
from tests.market.venue import BTC


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    """Kernels are compiled before any test looks at the clock."""
    warm_up(BTC)
