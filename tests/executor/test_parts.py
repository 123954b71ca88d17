"""The small parts: ids, lock, clock, drift, cutting."""

from __future__ import annotations

import asyncio
import multiprocessing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import executor.tasks
from executor.clock import VenueClock
from executor.ids import close_id, entry_id, plan_of
from executor.lock import Lock
from executor.view import cut
from market.errors import AlreadyRunningError
from market.events import EventBatch


@given(
    symbol=st.text("ABCDEFGHIJ0123456789", min_size=5, max_size=24),
    close_s=st.integers(0, 36**6 - 1),
    side=st.sampled_from([1, -1]),
    attempt=st.integers(0, 35),
)
def test_link_ids_are_short_and_tell_their_plan(symbol: str, close_s: int, side: int, attempt: int) -> None:
    entry = entry_id(symbol, close_s * 1000, side, attempt)
    close = close_id(entry, attempt)
    assert max(len(entry), len(close)) <= 36
    assert plan_of(entry) == plan_of(close)
    assert entry != close
    assert entry_id(symbol, close_s * 1000 + 1000, side, attempt) != entry


def _hold(path: Path, ready: object, done: object) -> None:
    with Lock(path):
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


@pytest.mark.failure(44)
def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path / "lock", ready, done))
    other.start()
    assert ready.wait(60)
    with pytest.raises(AlreadyRunningError, match=f"process {other.pid}"), Lock(tmp_path / "lock"):
        pass
    done.set()
    other.join(30)
    with Lock(tmp_path / "lock"):
        pass


@pytest.mark.failure(44)
def test_a_second_lock_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with Lock(tmp_path / "lock"), pytest.raises(AlreadyRunningError), Lock(tmp_path / "lock"):
        pass


@pytest.mark.failure(43)
def test_the_clock_goes_on_in_silence_and_never_back() -> None:
    clock = VenueClock(speed=60.0, grace_s=10.0)
    assert clock.now_ms(1_000.0) == -1
    clock.saw(1_000_000, 5.0)
    clock.saw(999_000, 6.0)
    assert clock.event_ms == 1_000_000
    assert clock.now_ms(16.0) == 1_000_000
    assert clock.now_ms(17.0) == 1_060_000
    clock.saw(1_000_500, 18.0)
    assert clock.now_ms(18.0) == 1_000_500


def _batch(times: list[int], ordinals: list[int]) -> EventBatch:
    return EventBatch.from_rows([(0, 0, 0, time, 0, 0, ordinal, 0) for time, ordinal in zip(times, ordinals)])


def test_cutting_ends_a_piece_with_the_frame_that_reaches_the_time() -> None:
    batch = _batch([10, 20, 20, 30, 25, 40], [1, 2, 2, 3, 4, 5])
    assert cut(batch, 0, 20) == 3
    assert cut(batch, 0, 21) == 4
    assert cut(batch, 0, 41) == 6
    assert cut(batch, 50, 41) == 1


async def test_a_task_that_swallows_a_cancel_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor.tasks, "_AGAIN_S", 0.01)
    swallowed: list[int] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(1)
                if len(swallowed) > 2:
                    raise

    async def broken() -> None:
        raise ValueError("by the test")

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(broken())]
    await asyncio.sleep(0)
    await executor.tasks.put_away(*tasks)
    assert len(swallowed) == 3
    assert all(task.done() for task in tasks)
