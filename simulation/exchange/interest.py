"""Funding and open interest of one contract: what they are now, and what they were."""

from __future__ import annotations

import zlib
from collections import deque
from decimal import Decimal

import numpy as np

from simulation.exchange.listing import Listing
from simulation.exchange.rules import FUNDING_CAP

#: Bybit's interest of 0.03 % a day, and the clamp around the premium.
_INTEREST_A_DAY, _CLAMP = Decimal("0.0003"), Decimal("0.0005")
#: Margin that the impact prices of the premium are made for, USDT.
_IMPACT_MARGIN = 200
#: Contracts that the other traders hold at the opening, steps of one side.
BACKGROUND = 5_000_000
#: Greatest share of a second's volume that opens or closes positions on balance, and how fast that is forgotten.
_TURN, _PULL = 0.5, 2e-5
_KEPT = 20_000
_GRID_MS = 300_000


class Funding:
    """The funding rate of a contract.

    A sample a minute of the premium index, the newer the heavier; the rate is their average plus the clamped interest,
    within the cap. A recorded venue's own rate comes before all that.

    References
    ----------
    https://www.bybit.com/en/help-center/article/Introduction-to-Funding-Rate
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._weighted, self._samples = Decimal(0), 0
        self._built: Decimal | None = None
        self.history: deque[tuple[int, Decimal]] = deque(maxlen=_KEPT)

    @property
    def interval_ms(self) -> int:
        """Milliseconds between funding payments."""
        return self._listing.instrument.funding_interval_min * 60_000

    @property
    def next_ms(self) -> int:
        """When funding is paid next."""
        return (self._listing.market.now_ms // self.interval_ms + 1) * self.interval_ms

    def premium(self) -> Decimal:
        """Premium index: how far the impact prices lie beyond the index, as a share of it."""
        listing, index = self._listing, self._listing.index_ticks
        notional = _IMPACT_MARGIN * listing.instrument.max_leverage
        bid, ask = (listing.impact_ticks(side, notional) for side in (1, 0))
        above = max(bid - index, Decimal(0)) if bid is not None else Decimal(0)
        below = max(index - ask, Decimal(0)) if ask is not None else Decimal(0)
        return (above - below) / index

    def sample(self) -> None:
        """Take a sample of the premium, once a minute of market time."""
        self._samples += 1
        self._built = None
        self._weighted += self._samples * self.premium()

    @property
    def rate(self) -> Decimal:
        """The rate that is being built."""
        told = self._listing.market.told.funding_rate
        if told is not None:
            return told
        if self._built is None:
            self._built = self._average()
        return self._built

    def _average(self) -> Decimal:
        n = self._samples
        premium = self._weighted / (n * (n + 1) // 2) if n else Decimal(0)
        interest = _INTEREST_A_DAY * self.interval_ms / 86_400_000
        rate = premium + min(max(interest - premium, -_CLAMP), _CLAMP)
        return min(max(rate, -FUNDING_CAP), FUNDING_CAP).quantize(Decimal("0.00000001"))

    def settle(self) -> Decimal:
        """The rate that is due now; it enters the history, and the next one starts to be built."""
        rate = self.rate
        self.history.append((self._listing.market.now_ms, rate))
        self._begin()
        return rate

    def _begin(self) -> None:
        self._weighted, self._samples, self._built = Decimal(0), 0, None

    def forget(self, from_ms: int) -> None:
        """Drop what lies at or after a time, before going back there."""
        self.history = deque((row for row in self.history if row[0] < from_ms), maxlen=_KEPT)
        self._begin()


class OpenInterest:
    """Open interest of one side, steps: the users' positions beside everybody else's.

    Of each second's volume a random share, up to a half either way, opens or closes positions on balance, and the
    total is drawn back to where it began; liquidations close what they trade. The randomness is seeded by the symbol,
    so the same market has the same open interest. A recorded venue's own number comes before all that.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._others = float(BACKGROUND)
        self._rng = np.random.default_rng([zlib.crc32(listing.symbol.encode()), 2])
        self._seen = listing.traded
        self.users = 0
        self.history: deque[tuple[int, int]] = deque(maxlen=_KEPT)

    @property
    def steps(self) -> int:
        """Open interest of one side now."""
        told = self._listing.market.told.open_interest
        if told is not None:
            return int(told / 2 / self._listing.instrument.qty_step)
        return round(self._others) + self.users

    def second(self, liquidated: int) -> None:
        """Move on by a second in which so many steps were liquidated."""
        traded, self._seen = self._listing.traded - self._seen, self._listing.traded
        self._others += traded * _TURN * self._rng.uniform(-1.0, 1.0) - liquidated
        self._others = max(self._others + _PULL * (BACKGROUND - self._others), 0.0)
        now = self._listing.market.now_ms
        if now % _GRID_MS == 0:
            self.history.append((now, self.steps))

    def forget(self, from_ms: int) -> None:
        """Drop what lies at or after a time, before going back there."""
        self.history = deque((row for row in self.history if row[0] < from_ms), maxlen=_KEPT)
