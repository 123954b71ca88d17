"""A newcomer votes in the shadow, takes over at a bar's boundary, and goes away again on a rollback."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from executor.actions import Decided, PlaceEntry, SwapCouncil
from executor.events import CouncilChanged
from executor.front import Hall
from tests.executor.conftest import CONFIG, Bench
from tests.executor.test_page import Scene

SHADOW = msgspec.structs.replace(CONFIG, shadow_bars=3)


def shadowed() -> Bench:
    bench = Bench(SHADOW)
    bench.bar(float("nan"))  # the first council has nobody beside it to wait for
    bench.on(CouncilChanged(bench.now, "short", 2, True))
    return bench


def last(bench: Bench) -> Decided:
    return bench.decisions()[-1]


def test_the_newcomer_votes_beside_the_old_one_for_so_many_bars_and_then_decides() -> None:
    bench = shadowed()
    assert any(isinstance(action, SwapCouncil) for action in bench.actions)
    for left in (2, 1, 0):
        bench.bar(0.5)
        decided = last(bench)
        assert decided.vote is not None
        assert decided.shadow is not None
        assert (decided.vote.council, decided.vote.side) == ("long", 1)
        assert (decided.shadow.council, decided.shadow.side) == ("short", -1)
        assert bench.core.state.shadow_left == left
    done = bench.bar(0.5)
    assert isinstance(done[0], SwapCouncil)
    assert last(bench).vote is not None
    assert last(bench).vote.council == "short"  # type: ignore[union-attr]
    assert last(bench).shadow is None


def test_a_shadow_never_trades() -> None:
    bench = shadowed()
    bench.bar(0.5)
    entries = [action for action in bench.actions if isinstance(action, PlaceEntry)]
    assert [entry.side for entry in entries] == [1]


def test_an_open_position_keeps_the_plan_of_the_council_that_made_it() -> None:
    bench = Bench()
    order = bench.enter(0.5)
    bench.fill(order)
    bench.on(CouncilChanged(bench.now, "short", 2, True))
    assert isinstance(bench.bar(0.5)[0], SwapCouncil)
    trade = bench.core.state.trade
    assert trade is not None
    assert (trade.council, trade.stop, trade.target) == ("long", order.stop, order.target)
    assert last(bench).reason == f"busy with {order.link_id}"


def test_a_rollback_in_the_shadow_sends_the_newcomer_away() -> None:
    bench = shadowed()
    bench.bar(0.5)
    bench.on(CouncilChanged(bench.now, "long", 1, True))
    assert bench.core.state.pending is None
    for _ in range(4):
        bench.bar(0.5)
    assert last(bench).vote is not None
    assert last(bench).vote.council == "long"  # type: ignore[union-attr]


def test_a_rollback_after_the_swap_brings_the_old_one_back() -> None:
    bench = Bench()
    for name, version in (("short", 2), ("long", 1)):
        bench.bar(float("nan"))
        bench.on(CouncilChanged(bench.now, name, version, True))
    bench.bar(0.5)
    assert bench.core.state.council is not None
    assert bench.core.state.council.version == 1


def test_systemd_hears_that_the_loop_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(address))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        scene = Scene(tmp_path)
        hall = Hall(0, [scene.front.values], scene.stage.lines.append)
        asyncio.run(hall.open())
        assert listener.recv(1024) == b"READY=1"
        hall.beat("2 decisions, 1 closed")
        assert listener.recv(1024) == b"WATCHDOG=1\nSTATUS=2 decisions, 1 closed"
        asyncio.run(hall.close())
        assert listener.recv(1024) == b"STOPPING=1"
        scene.front.end("the end", None)
        scene.stage.journal.close()
