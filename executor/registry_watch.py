"""Who is in Production: asked again and again, fetched, checked, and handed to the core by content hash.

Trading goes on with the council it has when the registry is down, when Production is withdrawn, and when what was
promoted cannot be used; each is said once, until it changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from council.bundle import load_bundle
from council.lookout import Lookout
from council.registry import cached
from council.voting import Council
from executor.state import CouncilRef
from market.errors import BundleError, NoProductionError, PurpleSkyError, RegistryUnavailable


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a council must be for; another one is refused."""

    symbol: str
    timeframe: str
    levels: int
    spec_hash: str


class CouncilStore:
    """Councils by content hash, from the cache on disk.

    Parameters
    ----------
    cache
        Folder of bundles, each under its content hash.
    wanted
        What they must be for.
    """

    def __init__(self, cache: Path, wanted: Wanted) -> None:
        self.cache, self._wanted = cache, wanted
        self._loaded: dict[str, Council] = {}

    def __call__(self, content_hash: str) -> Council:
        """The council of that content.

        Raises
        ------
        BundleError, BundleMismatch
            It is not in the cache, is damaged, or is for something else.
        """
        if content_hash not in self._loaded:
            folder = cached(self.cache, content_hash)
            if folder is None:
                raise BundleError(
                    f"council {content_hash[:12]} is not in {self.cache}, or is damaged there",
                    advice="Make the registry reachable: the executor fetches it again",
                )
            wanted = self._wanted
            self._loaded[content_hash] = load_bundle(
                folder,
                symbol=wanted.symbol,
                timeframe=wanted.timeframe,
                levels=wanted.levels,
                spec_hash=wanted.spec_hash,
            )
        return self._loaded[content_hash]


class RegistryWatch:
    """Looks who is in Production.

    Parameters
    ----------
    registry, name
        Where to look, and for which registered model.
    store
        Where bundles are kept and checked.

    Attributes
    ----------
    problem
        Why the last look gave no council; empty if it gave one.
    asked_s
        Unix time of the last look.
    """

    def __init__(self, registry: Lookout, name: str, store: CouncilStore) -> None:
        self._registry, self._name, self._store = registry, name, store
        self._refused: tuple[int, str] = (-1, "")
        self.problem = ""
        self.asked_s: float | None = None

    def look(self) -> CouncilRef:
        """The council in Production, fetched, checked and asked once; blocks for some seconds at most.

        Raises
        ------
        RegistryUnavailable
            What is in Production is unknown.
        RegistryError
            There is none, or it cannot be used.
        """
        self.asked_s = time.time()
        try:
            found = self._look()
        except PurpleSkyError as error:
            self.problem = error.message
            raise
        self.problem = ""
        return found

    def _look(self) -> CouncilRef:
        found = self._registry.look(self._name, self._store.cache)
        version, content_hash = found.info.version, found.folder.name
        if self._refused[0] == version:
            raise BundleError(self._refused[1], advice="Promote another version")
        try:
            council = self._store(content_hash)
            # The first vote compiles the walker and builds the forest: here, not at a bar's close.
            council.vote([float("nan")] * len(council.engine_features))
        except BundleError as error:
            self._refused = (version, f"version {version} of {self._name} is refused: {error.message}")
            raise
        return CouncilRef(content_hash, version, found.info.gate_passed)

    async def run(
        self, poll_s: float, found: Callable[[CouncilRef], None], tell: Callable[[str, str, str], None]
    ) -> None:
        """Look every `poll_s` seconds, for ever; `tell` gets level, code and text of what is wrong, once each."""
        said = ""
        while True:
            await asyncio.sleep(poll_s)
            try:
                found(await asyncio.to_thread(self.look))
                if said:
                    tell("info", "registry", f"{self._name}: the registry answers again")
                said = ""
            except PurpleSkyError as error:
                if error.message != said:
                    level = "info" if isinstance(error, RegistryUnavailable | NoProductionError) else "warning"
                    tell(level, "registry", f"{error.message}; trading goes on with the council at hand")
                said = error.message
