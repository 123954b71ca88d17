"""Random interleavings of orders, fills, lost answers, duplicates, reorderings and restarts, against the exchange."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from executor.events import Flatten, Resume
from tests.executor.rig import QUIET, Rig

_PATHS = ("/v5/order/create", "/v5/order/cancel", "/v5/position/trading-stop", "/v5/execution/list")


class Interleavings(RuleBasedStateMachine):
    """The core, its gateway and its journal, against the local exchange as the model of what is true."""

    @initialize(seed=st.integers(1, 1_000), hedge=st.booleans())
    def begin(self, seed: int, hedge: bool) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.rig = Rig(Path(self._folder.name), seed=seed, hedge=hedge)
        self.rig.run(19)

    @rule(seconds=st.sampled_from([0.1, 0.5, 2, 7]))
    def wait(self, seconds: float) -> None:
        self.rig.run(seconds)

    @rule(signal=st.sampled_from([0.5, -0.5, QUIET]))
    def change_mind(self, signal: float) -> None:
        self.rig.signal = signal

    @rule()
    def next_bar(self) -> None:
        self.rig.run(20)

    @precondition(lambda self: self.rig.trade is not None)
    @rule(size=st.sampled_from([20, 200, 5_000, 1_000_000]), where=st.sampled_from(["limit", "stop", "target"]))
    def somebody_trades(self, size: int, where: str) -> None:
        plan = self.rig.trade
        assert plan is not None
        away = plan.side if where == "target" else -plan.side
        self.rig.sweep(getattr(plan, where), away, size)

    @rule(path=st.sampled_from(_PATHS), after=st.booleans())
    def lose_an_answer(self, path: str, after: bool) -> None:
        self.rig.fault("timeout-after" if after else "timeout-before", on=path, count=1)

    @rule(kind=st.sampled_from(["drop", "duplicate", "reorder"]), topic=st.sampled_from(["order", "execution"]))
    def spoil_the_news(self, kind: str, topic: str) -> None:
        self.rig.fault(kind, on=topic, count=2)

    @rule()
    def lose_the_stream(self) -> None:
        self.rig.stream.cut("by the test")

    @rule()
    def die(self) -> None:
        self.rig.kill()

    @rule()
    def flatten(self) -> None:
        self.rig.drive(Flatten(self.rig.now_ms))

    @rule()
    def resume(self) -> None:
        self.rig.drive(Resume(self.rig.now_ms))

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "rig"):
            assert self.rig.problems == []

    def teardown(self) -> None:
        if not hasattr(self, "rig"):
            return
        made = self.rig
        made.mend()
        made.signal = QUIET
        made.run(6)
        if made.trade is not None:
            made.drive(Flatten(made.now_ms))
        made.run(40, lambda: made.trade is None)
        made.run(2)
        try:
            assert made.verdict() == []
            assert made.trade is None
        finally:
            made.journal.close()
            self._folder.cleanup()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(
    max_examples=5,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
