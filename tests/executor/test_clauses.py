"""The clauses of known failures that need a story of their own: at the live gateway and the local exchange.

Every part is real but the wires, as in ``test_live.py``; most run in both position modes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import msgspec
import pytest

from council.plan import DIRECTIONAL, PASSIVE, Entry, make_plan
from executor.actions import (
    Alert,
    CancelEntry,
    ClosePosition,
    Decided,
    PlaceEntry,
    PlaceTarget,
    QueryOrder,
    SetProtection,
    decode_actions,
)
from executor.events import (
    EquityRead,
    Filled,
    Flatten,
    OrderAccepted,
    OrderCancelled,
    PositionRead,
    Resume,
    decode_event,
)
from executor.journal import FILE
from executor.lanes import ThreadLanes
from executor.status import status_values
from tests.executor.conftest import COUNCILS, PARAMS, sign_council
from tests.executor.rig import BAR_MS, QUIET, RIG_CONFIG, STEP_MS, SYMBOL, Rig, rig
from tests.executor.test_live import CANCEL, CREATE, STOP, decided, entries, filled, flat, protected, resting, sweep

POSITION, OPEN, WALLET = "/v5/position/list", "/v5/order/realtime", "/v5/account/wallet-balance"
FEATURES = ("signal", "other")


@pytest.fixture(params=[False, True], ids=["one-way", "hedge"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """A rig in either position mode."""
    with rig(tmp_path, hedge=request.param) as one:
        yield one


@pytest.fixture
def plans(made: Rig, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From now on the council makes other plans."""

    def change(**changes: Any) -> None:
        params = msgspec.convert(PARAMS.to_json() | changes, type=type(PARAMS))
        monkeypatch.setitem(COUNCILS, "long", sign_council(FEATURES, "signal", params=params))
        made.kill()

    return change


def nibble(made: Rig) -> None:
    """Somebody trades through the queue before our entry, and into it."""
    trade = made.trade
    assert trade is not None
    for _ in range(400):
        made.sweep(trade.limit, -trade.side, 40)
        if made.held:
            return
    raise AssertionError("the queue has no end")


def turns(made: Rig) -> list[tuple[Any, list[Any]]]:
    """Every event of the journal and what followed from it."""
    rows = made.journal.query("SELECT event, actions FROM events ORDER BY seq")
    return [(decode_event(str(event).encode()), decode_actions(str(done).encode())) for event, done in rows]


def status(made: Rig) -> dict[str, Any]:
    return status_values(made.session, mode="live", running=True, number=1)


# --- readings that fail ----------------------------------------------------------------------------------------------

SILENT = [("failed-read", {}), ("timeout-before", {}), ("ret-code", {"code": 10006}), ("http-status", {"status": 502})]


@pytest.mark.failure(1)
@pytest.mark.failure(4)
@pytest.mark.failure(5)
@pytest.mark.parametrize(("kind", "fields"), SILENT)
def test_a_real_drawdown_kills_on_confirmed_readings_alone_and_until_a_person_resumes(
    tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    """A funding payment is drawdown enough; nobody can know of it while the balance is not told."""
    with rig(tmp_path, config=msgspec.structs.replace(RIG_CONFIG, max_drawdown=Decimal("0.0005"))) as made:
        resting(made)
        made.fault(kind, on=WALLET, **fields)
        sweep(made)
        made.run(3)
        made.fault("funding", rate="0.003", position=0)
        made.run(27)
        risk = made.core.state.risk
        assert (risk.killed, risk.equity, risk.breaches) == (None, None, 0)
        assert risk.high_water == 10_000
        assert status(made)["equity"] is None
        assert made.held != 0
        assert not made.said(ClosePosition)
        known = len([read for read in made.heard(EquityRead) if read.equity is not None])
        made.mend()
        for on in (POSITION, OPEN):
            made.fault("failed-read", on=on)
        made.fault("http-status", on=CREATE, status=500)
        assert made.run(20, lambda: made.core.state.risk.killed is not None)
        read = [read for read in made.heard(EquityRead) if read.equity is not None][known:]
        assert len({one.as_of_ms for one in read}) >= RIG_CONFIG.confirmations
        # Nothing answers: it is not flat, it says so, and it goes on trying.
        made.run(70)
        assert status(made)["position"] != "0"
        assert "kill-open" in made.alerts()
        assert len(made.said(QueryOrder)) > 5
        assert not made.closed()
        made.mend()
        assert made.run(30, lambda: made.held == 0 and made.trade is None)
        made.kill()
        made.signal = 0.5
        made.run(25)
        assert decided(made) == "kill switch"
        assert len(entries(made)) == 1
        made.drive(Resume(made.now_ms))
        made.run(45)
        assert len(entries(made)) >= 2


@pytest.mark.failure(2)
@pytest.mark.parametrize(("kind", "fields"), SILENT)
def test_the_time_exit_comes_on_time_although_no_position_is_told(
    made: Rig, plans: Callable[..., None], kind: str, fields: dict[str, Any]
) -> None:
    plans(stop_atr=40.0, target_atr=40.0)
    protected(made)
    trade = made.trade
    assert trade is not None
    assert trade.first_fill_ms is not None
    due = trade.first_fill_ms + trade.hold_ms
    made.fault(kind, on=POSITION, **fields)
    reads = len(made.heard(PositionRead))
    sent = len(made.posts(CREATE))
    made.signal = QUIET
    assert not made.run((due - made.now_ms) / 1000 - 0.5, lambda: bool(made.said(ClosePosition)))
    assert (made.trade, trade.open, len(made.posts(CREATE))) == (trade, trade.size, sent)
    assert {read.position for read in made.heard(PositionRead)[reads:]} <= {None}
    assert made.run(2, lambda: bool(made.said(ClosePosition)))
    assert made.said(ClosePosition)[0].reason == "time"
    made.mend()
    flat(made, 20)


@pytest.mark.failure(3)
@pytest.mark.parametrize(("kind", "fields"), SILENT)
def test_an_entry_stays_what_it_is_while_no_open_order_is_told(
    made: Rig, plans: Callable[..., None], kind: str, fields: dict[str, Any]
) -> None:
    plans(offset_atr=3.0)
    resting(made)
    trade = made.trade
    assert trade is not None
    made.fault(kind, on=OPEN, **fields)
    made.run(15)
    assert made.trade is trade
    assert trade.entry == "resting"
    assert not made.posts(CANCEL)
    assert [row["orderLinkId"] for row in made.truth(OPEN)] == [trade.link_id]
    assert len(entries(made)) == 1


# --- what the venue says ---------------------------------------------------------------------------------------------

REFUSED = {110017: "reduce-only", 110003: "price", 110007: "margin", 110094: "too small", 10001: "parameter"} | {
    10002: "clock",
    10006: "rate limit",
    10018: "rate limit",
}
UNKNOWN = {110072: "duplicate link id", 10000: "time-out", 10016: "server error", 10019: "restarting"}


@pytest.mark.failure(39)
@pytest.mark.parametrize("code", [*REFUSED, *UNKNOWN])
def test_a_code_for_an_entry_means_what_bybit_documents(made: Rig, code: int) -> None:
    """https://bybit-exchange.github.io/docs/v5/error: refused is over, of the rest nobody knows yet."""
    made.fault("ret-code", on=CREATE, code=code, count=1)
    assert made.run(25, lambda: bool(entries(made)))
    made.signal = QUIET
    link = entries(made)[0]["orderLinkId"]
    made.run(1)
    asked = [query.link_id for query in made.said(QueryOrder)]
    told = [alert.text for alert in made.said(Alert) if alert.code == "entry-rejected"]
    if code in UNKNOWN:
        assert link in asked
        assert told == []
    else:
        assert asked == []
        assert [text.split()[3] for text in told] == [str(code)]
    made.run(15)
    assert made.trade is None
    assert len(entries(made)) == 1
    assert made.verdict() == []


@pytest.mark.failure(23)
@pytest.mark.failure(39)
@pytest.mark.parametrize("code", [110017, 10002, 10006])
def test_a_refused_close_is_tried_again_after_a_pause_under_the_stop(made: Rig, code: int) -> None:
    protected(made)
    made.fault("ret-code", on=CREATE, code=code, count=3)
    trade, stop = made.trade, made.stop
    assert trade is not None
    made.drive(Flatten(made.now_ms))
    made.signal = QUIET
    times: list[int] = []
    end = made.now_ms + 30_000
    while made.held and made.now_ms < end:
        assert made.stop == stop > 0
        made.run(0.1)
        if len([body for body in made.posts(CREATE) if body.get("reduceOnly")]) > len(times):
            times.append(made.now_ms)
    assert len(times) == 4
    assert min(later - sooner for sooner, later in pairwise(times)) >= RIG_CONFIG.retry_ms - 100
    assert len([alert for alert in made.said(Alert) if alert.code == "close-rejected"]) == 3
    flat(made, 10)


# --- stops -----------------------------------------------------------------------------------------------------------


@pytest.mark.failure(8)
@pytest.mark.parametrize(
    ("kind", "alert"),
    [("stop-drop", "stop-adjusted"), ("stop-reject", "stop-rejected"), ("stop-adjust", "stop-adjusted")],
)
def test_a_bad_stop_is_told_tried_again_and_then_the_position_closed(made: Rig, kind: str, alert: str) -> None:
    made.fault(kind)
    filled(made)
    assert made.run(RIG_CONFIG.protection_timeout_ms / 1000 + 2, lambda: made.held == 0)
    bad = [one for one in made.said(Alert) if one.code in ("stop-adjusted", "stop-rejected")]
    assert bad
    assert {one.level for one in bad} == {"critical"}
    assert "unprotected" in made.alerts()
    assert len(made.said(SetProtection)) >= 2
    flat(made, 10)


@pytest.mark.failure(10)
@pytest.mark.parametrize("book", [{"bid": -1, "ask": -1}, {"ask": 1 << 20}])
def test_without_a_book_stops_are_set_entries_expire_and_exits_are_sent(
    made: Rig, plans: Callable[..., None], book: dict[str, int]
) -> None:
    plans(stop_atr=40.0, target_atr=40.0)
    whole = made.bar

    def bar(close_ms: int) -> Any:
        return msgspec.structs.replace(whole(close_ms), **book)

    made.run(19)
    resting(made)
    made.fault("stop-drop", count=1)
    made.bar = bar  # type: ignore[method-assign]
    nibble(made)
    assert made.run(5, lambda: made.trade is not None and made.trade.protected == made.trade.open > 0)
    assert made.trade is not None
    assert made.stop == made.trade.stop
    assert made.run(160, lambda: made.trade is None)
    assert [close.reason for close in made.said(ClosePosition)] == ["time"]
    made.run(45)
    assert len(entries(made)) == 1
    assert decided(made).startswith(("book", "spread"))
    assert made.verdict() == []


@pytest.mark.failure(10)
@pytest.mark.failure(12)
@pytest.mark.failure(15)
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("lost", ["", "timeout-after", "timeout-before"])
def test_an_entry_expires_on_time_with_one_cancel_that_works_and_is_kept_until_that_is_sure(
    made: Rig, plans: Callable[..., None], restart: bool, lost: str
) -> None:
    plans(offset_atr=3.0)
    resting(made)
    before = made.trade
    assert before is not None
    made.signal = QUIET
    if restart:
        made.kill()
        made.run(2)
        after = made.trade
        assert after is not None
        for name in ("link_id", "limit", "stop", "target", "size", "atr", "decided_ms", "tif_ms", "hold_ms", "council"):
            assert getattr(after, name) == getattr(before, name)
        assert after.entry == "resting"
    if lost:
        made.fault(lost, on=CANCEL, count=1)
    due = before.decided_ms + before.tif_ms
    assert not made.run((due - made.now_ms) / 1000 - 0.2, lambda: bool(made.said(CancelEntry)))
    assert made.run(0.6, lambda: bool(made.said(CancelEntry)))
    while made.truth(OPEN):
        assert made.trade is not None, "forgotten before the venue confirmed it"
        made.run(0.1)
    assert made.run(20, lambda: made.trade is None)
    # A cancel that got lost on its way is sent again, after asking; one that arrived never is.
    assert len(made.posts(CANCEL)) == (2 if lost == "timeout-before" else 1)
    told = made.heard(OrderCancelled)
    assert lost or [one.link_id for one in told] == [before.link_id] * len(told)
    assert made.verdict() == []


# --- ours and not ours -----------------------------------------------------------------------------------------------


def far_orders(made: Rig, count: int, **more: Any) -> None:
    """Somebody leaves orders far from the market."""
    price = (made.listing.best_bid or 0) - 900
    for number in range(count):
        made.call(
            CREATE, category="linear", symbol=SYMBOL, side="Buy", orderType="Limit", qty="0.002",
            positionIdx=made.places()[0][0], price=str(made.listing.numbers.price(price - number)), **more,
        )  # fmt: skip


@pytest.mark.failure(13)
def test_our_entry_is_found_on_whatever_page_it_is(made: Rig, plans: Callable[..., None]) -> None:
    plans(offset_atr=3.0, tif_bars=4)
    resting(made)
    trade = made.trade
    assert trade is not None
    far_orders(made, 120)
    asked = len(made.said(QueryOrder))
    made.run(30)
    assert "120 foreign" in made.core.state.risk.paused["foreign"]
    # The oldest of all orders, it is on the last page: were that not read, it would be missing and asked for.
    assert len(made.said(QueryOrder)) == asked
    assert made.trade is trade
    assert trade.entry == "resting"


@pytest.mark.failure(13)
def test_protection_targets_and_conditional_orders_are_no_entries(made: Rig, plans: Callable[..., None]) -> None:
    plans(target_maker=True, stop_atr=40.0, target_atr=40.0)
    protected(made)
    made.call(
        CREATE, category="linear", symbol=SYMBOL, side="Sell", orderType="Market", qty="0.002", reduceOnly=True,
        triggerPrice=str(made.listing.numbers.price((made.listing.best_bid or 0) - 5_000)), triggerDirection=2,
        positionIdx=made.gateway.memory.index,
    )  # fmt: skip
    made.run(30)
    rows = made.truth(OPEN)
    kinds = {(row["reduceOnly"], row["stopOrderType"]) for row in rows}
    assert len(kinds) >= 3, "a resting target, a stop, and somebody's conditional order"
    assert made.core.state.risk.paused == {}
    assert not {"foreign", "orphan", "position"} & made.alerts()
    assert not made.posts(CANCEL)
    assert len(entries(made)) == 1


@pytest.mark.failure(14)
def test_flattening_leaves_what_is_not_ours(made: Rig) -> None:
    protected(made)
    far_orders(made, 3)
    trade, index = made.trade, made.gateway.memory.index
    assert trade is not None
    made.foreign = True
    made.fault("manual-position", side="Buy" if trade.side > 0 else "Sell", qty="0.010", position=index)
    made.run(2)
    made.drive(Flatten(made.now_ms))
    made.signal = QUIET
    assert made.run(30, lambda: made.trade is None)
    made.run(15)
    assert [close.size for close in made.said(ClosePosition)] == [trade.size]
    assert made.held == 10 * trade.side
    assert len([row for row in made.truth(OPEN) if not row["orderLinkId"] and not row["stopOrderType"]]) == 3
    assert not made.posts(CANCEL)
    assert made.core.state.risk.paused


# --- fills -----------------------------------------------------------------------------------------------------------


@pytest.mark.failure(17)
def test_the_stop_grows_with_each_piece(made: Rig) -> None:
    resting(made)
    trade = made.trade
    assert trade is not None
    nibble(made)
    assert 0 < abs(made.held) < trade.size, "it filled at once"
    assert made.run(2, lambda: trade.protected == abs(made.held))
    assert made.stop == trade.stop
    sweep(made)
    assert made.run(5, lambda: trade.protected == trade.open == trade.size)
    assert len([fill for fill in made.heard(Filled) if fill.role == "entry"]) >= 2
    assert trade.first_fill_ms == made.heard(Filled)[0].time_ms
    assert len([place for place in made.places() if place[1]]) == 1
    flat(made)
    assert len(entries(made)) == 1


@pytest.mark.failure(18)
def test_the_journal_has_the_fill_before_the_answer(made: Rig) -> None:
    def at_once(path: str) -> None:
        if path == CREATE:
            made.after_request = lambda _: None
            row = made.truth(OPEN)[0]
            made.sweep(made.listing.instrument.to_ticks(row["price"]), -1)
            made.took_ms = 900  # the answer takes its time; the stream does not

    made.after_request = at_once
    made.fault("drop", on="order")
    assert made.run(60, lambda: made.trade is not None and made.trade.open > 0)
    order = made.said(PlaceEntry)[0]
    events = [event for event, _ in turns(made)]
    fill = next(i for i, event in enumerate(events) if isinstance(event, Filled))
    answers = [i for i, e in enumerate(events) if isinstance(e, OrderAccepted) and e.link_id == order.link_id]
    assert made.run(3, lambda: bool(made.heard(OrderAccepted)))
    assert not answers or fill < answers[0]
    assert events[fill].link_id == order.link_id
    trade = made.trade
    assert trade is not None
    assert (trade.stop, trade.target, trade.atr) == (order.stop, order.target, made.atr)
    made.mend()
    flat(made)


@pytest.mark.failure(19)
def test_ten_signals_of_both_sides_within_a_bar_are_one_entry(made: Rig) -> None:
    made.run(2)
    close_ms = (made.now_ms // BAR_MS + 1) * BAR_MS
    made.run((close_ms - made.now_ms) / 1000 - 0.1)
    made.signal = QUIET
    made.run(0.2)
    for number in range(10):
        made.signal = 0.5 if number % 2 else -0.5
        # As late copies of the bar, and as bars that lie within it.
        made.drive(made.bar(close_ms + BAR_MS * (number == 9)))
        made.drive(made.bar(close_ms))
    made.run(5)
    assert len(entries(made)) <= 1
    made.signal = -0.5
    made.run(BAR_MS / 1000)
    first = len(entries(made))
    for number in range(10):
        made.signal = 0.5 if number % 2 else -0.5
        made.drive(made.bar(made.now_ms // BAR_MS * BAR_MS))
    made.run(2)
    assert first == len(entries(made)) == 1
    assert len([place for place in made.places() if place[1]]) <= 1
    assert made.verdict() == []


@pytest.mark.failure(20)
def test_what_threads_find_is_handed_over_by_one() -> None:
    lanes = ThreadLanes()
    ran: set[int] = set()
    took: list[tuple[int, str, int]] = []

    def call(number: int) -> int:
        ran.add(threading.get_ident())
        time.sleep(0.0005 * (number % 3))
        return number

    def submit(lane: str, number: int) -> None:
        lanes.submit(lane, lambda: call(number), lambda n: took.append((threading.get_ident(), lane, n)))

    for number in range(60):
        for lane in ("survey", "entry", "exit"):
            submit(lane, number)
    end = time.monotonic() + 20
    while len(took) < 180 and time.monotonic() < end:
        for done in lanes.finished():
            done()
    lanes.close()
    assert threading.get_ident() not in ran
    assert len(ran) == 3
    assert {ident for ident, _, _ in took} == {threading.get_ident()}
    for lane in ("survey", "entry", "exit"):
        assert [n for _, name, n in took if name == lane] == list(range(60))


@pytest.mark.failure(24)
def test_our_exit_that_comes_after_the_stop_closes_nothing_more(made: Rig) -> None:
    protected(made)
    trade = made.trade
    assert trade is not None
    size = trade.size
    made.drive(Flatten(made.now_ms))
    made.sweep(trade.stop - trade.side, -trade.side)
    flat(made, 30)
    closing = [row for row in made.truth("/v5/execution/list") if Decimal(row["closedSize"] or "0") > 0]
    assert sum(made.listing.instrument.to_steps(row["execQty"]) for row in closing) == size
    assert len([body for body in made.posts(CREATE) if body.get("reduceOnly")]) == 1
    assert made.held == 0


@pytest.mark.failure(25)
def test_what_the_venue_says_of_the_position_s_age_is_not_asked(made: Rig) -> None:
    """Bybit's ``createdTime`` is of the first position that the account ever had in the contract."""
    protected(made)
    flat(made)
    made.signal = 0.5
    protected(made)
    trade, index = made.trade, made.gateway.memory.index
    assert trade is not None
    [row] = [
        row for row in made.call(POSITION, category="linear", symbol=SYMBOL)["list"] if row["positionIdx"] == index
    ]
    assert trade.first_fill_ms is not None
    assert int(row["createdTime"]) < trade.first_fill_ms - 10_000, "the exchange does not do what Bybit does"
    made.kill()
    made.run(3)
    assert made.trade is not None
    assert made.trade.first_fill_ms == trade.first_fill_ms
    if made.trade.open:
        held_ms = trade.first_fill_ms + trade.hold_ms - made.now_ms
        assert held_ms > 0
        assert not made.said(ClosePosition)[1:]


@pytest.mark.failure(26)
def test_a_close_by_the_venue_in_parts_is_summed_once(made: Rig) -> None:
    protected(made)
    trade = made.trade
    assert trade is not None
    made.fault("adl", share=0.4, position=made.gateway.memory.index)
    made.run(1)
    assert 0 < abs(made.held) < trade.size
    made.fault("funding", rate="0.001")
    made.run(6)
    flat(made)
    closed = made.closed()[-1]
    assert closed.funding != 0
    assert closed.fees > 0
    assert closed.filled == trade.size


# --- parity ----------------------------------------------------------------------------------------------------------


@pytest.mark.failure(27)
@pytest.mark.parametrize("target_maker", [False, True])
@pytest.mark.parametrize("entry", [PASSIVE, DIRECTIONAL])
def test_the_wire_has_the_plan_that_the_backtest_makes(
    made: Rig, plans: Callable[..., None], entry: Entry, target_maker: bool
) -> None:
    changes = {"entry": entry, "target_maker": target_maker, "offset_atr": 1.0, "target_atr": 3.0}
    plans(**changes)
    assert made.run(60, lambda: bool(made.said(PlaceEntry)))
    order = made.said(PlaceEntry)[0]
    made.run(1)
    bar = next(e for e, done in turns(made) if any(isinstance(one, PlaceEntry) for one in done))
    params = msgspec.convert(PARAMS.to_json() | changes, type=type(PARAMS))
    plan = make_plan(params, order.side, bar.close, bar.atr, BAR_MS)
    assert plan is not None
    price = made.listing.instrument.price
    body = entries(made)[0]
    assert (Decimal(body["price"]), Decimal(body["stopLoss"])) == (price(plan.limit), price(plan.stop))
    assert body["timeInForce"] == {PASSIVE: "PostOnly", DIRECTIONAL: "IOC"}[entry]
    if target_maker:
        assert "takeProfit" not in body
        if entry == PASSIVE:
            sweep(made)
        assert made.run(5, lambda: bool(made.said(PlaceTarget)))
        assert made.said(PlaceTarget)[0].price == plan.target
    else:
        assert Decimal(body["takeProfit"]) == price(plan.target)
    assert abs(plan.target - (plan.limit if entry == PASSIVE else bar.close)) == 3 * bar.atr


@pytest.mark.failure(28)
def test_a_maker_target_follows_from_the_fill_s_own_turn(made: Rig, plans: Callable[..., None]) -> None:
    plans(target_maker=True)
    resting(made)
    sweep(made)
    made.run(1)
    fills = [done for event, done in turns(made) if isinstance(event, Filled) and event.role == "entry"]
    targets = [[one.size for one in done if isinstance(one, PlaceTarget)] for done in fills]
    assert made.trade is not None
    assert sum(map(sum, targets)) == made.trade.size
    assert all(targets)


# --- the process -----------------------------------------------------------------------------------------------------


def _silence(made: Rig) -> None:
    made.fault("drop", on="*")
    made.stream.cut("by the test")


def _freeze(made: Rig) -> None:
    """The loop hangs while the market goes on."""
    end = made.venue.now_ms + 4_000
    while made.venue.now_ms < end:
        target = made.venue.now_ms + STEP_MS
        while made.venue.now_ms < target:
            made.venue.step(target)
            made.venue.flush(made.listing)
        made._monotonic += STEP_MS / 1000
        made.stream.advance()
        made._check()


def _fill_disk(made: Rig) -> None:
    pages = made.journal._db.execute("PRAGMA page_count").fetchone()[0]
    made.journal._db.execute(f"PRAGMA max_page_count={pages}")


def _step_clock(made: Rig) -> None:
    """Every signed request is refused as too old."""
    made.fault("clock-skew", ms=60_000)


TROUBLES = {"silence": _silence, "freeze": _freeze, "disk": _fill_disk, "clock": _step_clock}


@pytest.mark.failure(43)
@pytest.mark.parametrize("order", list(permutations(TROUBLES)), ids="-".join)
def test_in_no_order_do_troubles_leave_a_position_without_its_stop(tmp_path: Path, order: tuple[str, ...]) -> None:
    """The entry fills after the second trouble, its stop is hit after the fourth; afterwards all is accounted for."""
    with rig(tmp_path, hedge=len(order[0]) % 2 == 0) as made:
        resting(made)
        made.signal = QUIET
        for number, name in enumerate(order):
            TROUBLES[name](made)
            made.run(1)
            if number == 1 and not made.held and made.truth(OPEN):
                limit = made.listing.instrument.to_ticks(made.truth(OPEN)[0]["price"])
                made.sweep(limit, -1)
            assert not made.held or made.stop > 0
        assert made.problems == []
        if made.held:
            made.sweep(made.stop - 1, -1)
        made.mend()
        made.journal._db.execute("PRAGMA max_page_count=1000000")
        made.run(30)
        if made.trade is not None:
            made.drive(Flatten(made.now_ms))
        assert made.run(30, lambda: made.trade is None)
        made.run(5)
        assert made.held == 0
        assert made.session.flush()
        assert made.verdict() == []
        assert any(closed.filled for closed in made.closed())


@pytest.mark.failure(46)
def test_a_damaged_journal_is_told_and_keeps_mark_and_latch(made: Rig) -> None:
    protected(made)
    made.run(12)
    made.core.state.risk.killed = "by the test"
    made.run(2)
    before = made.core.state.risk
    made.journal.close()
    path = made.folder / FILE
    path.write_bytes(b"\xff" * path.stat().st_size)
    made.start()
    after = made.core.state.risk
    assert after.high_water == before.high_water == 10_000
    assert after.killed == "by the test"
    assert "damaged" in status(made)["recovered"]
    made.signal = 0.5
    made.run(45)
    assert made.held == 0
    assert made.said(Decided)[-1].reason == "kill switch"
    assert made.core.state.risk.high_water == 10_000
    assert not made.posts(STOP) or made.alerts()
