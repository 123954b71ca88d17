"""Threads of the live gateway: reads give way to orders, and not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from executor.lanes import Lanes, ThreadLanes


@pytest.fixture
def lanes() -> Iterator[ThreadLanes]:
    made = ThreadLanes()
    yield made
    made.close()


def wait_for(lanes: Lanes, many: int, seconds: float = 5.0) -> None:
    end, found = time.monotonic() + seconds, 0
    while found < many:
        assert time.monotonic() < end
        for done in lanes.finished():
            done()
            found += 1
        time.sleep(0.001)


def test_a_read_waits_for_the_order_that_is_decided_on(lanes: ThreadLanes) -> None:
    order: list[str] = []
    one, other = lanes.port("BTCUSDT"), lanes.port("ETHUSDT")
    one.hold(True)
    other.submit("money", lambda: order.append("money"), lambda _: None)
    one.submit("survey", lambda: order.append("survey"), lambda _: None)
    time.sleep(0.02)
    assert order == []
    one.submit("entry", lambda: (time.sleep(0.02), order.append("entry")), lambda _: None)
    one.hold(False)
    wait_for(one, 2)
    wait_for(other, 1)
    assert order[0] == "entry"
    assert sorted(order[1:]) == ["money", "survey"]


def test_an_order_waits_for_nobody(lanes: ThreadLanes) -> None:
    lanes.hold(True)
    lanes.submit("exit", lambda: None, lambda _: None)
    wait_for(lanes, 1, 0.09)


def test_an_order_without_an_answer_does_not_stop_the_reading(lanes: ThreadLanes) -> None:
    answer = threading.Event()
    lanes.submit("entry", answer.wait, lambda _: None)
    lanes.submit("survey", lambda: None, lambda _: None)
    wait_for(lanes, 1, 2.0)
    answer.set()
    wait_for(lanes, 1)


def test_a_call_that_fails_lets_the_reads_go(lanes: ThreadLanes) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    lanes.submit("entry", fail, lambda _: None)
    started = time.monotonic()
    while not (found := lanes.finished()):
        assert time.monotonic() < started + 5
    with pytest.raises(ZeroDivisionError):
        found[0]()
    assert lanes._way._free.is_set()
