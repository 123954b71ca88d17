"""Live trading from its front door: what is refused before the first order, and a session over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executor import read_status, replay_session, run_executor
from executor.account import account_checks, account_lock, require_account
from executor.build import choose_feed, gate_guard
from executor.events import VenueState
from executor.lock import Lock
from executor.state import CouncilRef
from executor.venue import VenueClient
from market.errors import AlreadyRunningError, ExecutorError
from settings import Settings
from simulation import LocalExchange
from tests.executor.conftest import asked_before
from tests.executor.rig import SYMBOL, Rig, rig
from tests.executor.test_daemon import journal, make_settings, register
from tests.executor.wires import Wire


def with_keys(folder: Path, exchange: LocalExchange | None = None, **sections: dict[str, Any]) -> Settings:
    """Settings whose environment has the local exchange's keys."""
    keys = {"bybit_api_key": "local", "bybit_api_secret": "local-secret"}
    return make_settings(folder, exchange, secrets=keys, **sections)


def checks(made: Rig, change: Callable[[dict[str, Any]], None] = lambda _: None) -> dict[str, tuple[bool, str]]:
    """The checks of an account whose key says something else."""

    class Changed(Wire):
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            response = super().send(request, *args, **kwargs)
            if "/v5/user/query-api" in str(request.url):
                answer = response.json()
                change(answer["result"])
                response._content = json.dumps(answer).encode()
            return response

    venue = VenueClient("http://rig", "local", "local-secret", adapter=lambda: Changed(made))
    return {check.name: (check.ok, check.text) for check in account_checks(venue, SYMBOL)}


def test_a_good_account_passes(tmp_path: Path) -> None:
    with rig(tmp_path, hedge=True) as made:
        found = checks(made)
        assert [ok for ok, _ in found.values()] == [True] * 4
        assert found["position mode"][1] == "hedge"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda key: key["permissions"].update(Wallet=["AccountTransfer", "Withdraw"]), "may withdraw"),
        (lambda key: key.update(readOnly=1), "may only read"),
        (
            lambda key: key["permissions"].update(ContractTrade=["Order"]),
            "lacks the permission for contracts: Position",
        ),
        (lambda key: key.pop("permissions"), "cannot be read"),
        (lambda key: key.update(permissions=["Order"]), "cannot be read"),
        (lambda key: key.update(readOnly={}), "cannot be read"),
    ],
)
def test_a_key_that_may_too_much_or_too_little_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], text: str
) -> None:
    with rig(tmp_path) as made:
        ok, said = checks(made, change)["API key"]
        assert not ok
        assert text in said


@pytest.mark.failure(39)
def test_a_clock_that_is_off_is_refused(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.fault("clock-skew", ms=4_000)
        ok, said = checks(made)["clock"]
        assert not ok
        assert "+4" in said or "+39" in said


def test_a_question_without_an_answer_refuses_and_tells_no_secret(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.fault("http-status", on="*", status=500)
        venue = VenueClient("http://rig", "the-key", "the-secret", adapter=lambda: Wire(made))
        with pytest.raises(ExecutorError, match=r"live trading is refused: API key: .*no answer") as refused:
            require_account(venue, SYMBOL)
        everything = f"{refused.value!r} {refused.value} {venue!r} {made.gateway!r}"
        assert "the-key" not in everything
        assert "the-secret" not in everything


def test_the_gate_stands_before_live_trading() -> None:
    admit = gate_guard(3)
    assert admit(CouncilRef("a", 1, True)) == ""
    assert admit(CouncilRef("a", 3, False)) == ""
    assert "did not pass its gate" in admit(CouncilRef("a", 2, False))
    assert "no verdict" in admit(CouncilRef("a", 2, None))


@pytest.mark.failure(44)
def test_an_account_and_symbol_has_one_lock_wherever_the_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    one, other = with_keys(tmp_path / "a"), with_keys(tmp_path / "b")
    assert "local" not in account_lock(one, SYMBOL).name
    with Lock(account_lock(one, SYMBOL)), pytest.raises(AlreadyRunningError), Lock(account_lock(other, SYMBOL)):
        pass
    with Lock(account_lock(one, SYMBOL)), Lock(account_lock(other, "BTCUSDT")):
        pass


def test_live_trading_does_not_replay_the_lake(tmp_path: Path) -> None:
    with pytest.raises(ExecutorError, match="cannot replay the lake"):
        choose_feed(with_keys(tmp_path), SYMBOL, "lake", print, live=True)


@pytest.mark.failure(45)
async def test_a_live_session_over_sockets(
    empty_registry: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    async with LocalExchange(seed=3, speed=30) as exchange:
        settings = with_keys(tmp_path, exchange)
        settings = settings.model_copy(
            update={
                "executor": settings.executor.model_copy(
                    # Thirty seconds of the market pass in one of ours.
                    update={
                        **{"protection_timeout_ms": 120_000, "protection_retry_ms": 30_000, "max_bar_delay_ms": 60_000},
                        "timeframe": "5s",  # fourteen bars pass before there is an ATR
                    }
                ),
                "risk": settings.risk.model_copy(update={"max_stale_ms": 60_000}),
            }
        )
        empty_registry(settings.paths.mlruns)
        await asyncio.to_thread(register, settings, tmp_path, sign=1)
        await asyncio.to_thread(asked_before, settings)
        with pytest.raises(ExecutorError, match="version 1 did not pass its gate"):
            await asyncio.to_thread(run_executor, settings, SYMBOL, live=True)
        lines: list[str] = []
        summary = await asyncio.to_thread(
            run_executor,
            settings,
            SYMBOL,
            live=True,
            accept_failed_gate=1,
            max_seconds=200,  # the first run on a machine compiles
            until=lambda now: now.orders >= 1 and now.bars >= 2,
            echo=lines.append,
        )
        links = set(exchange.venue.desk.link_ids)
        open_entries = [o for o in exchange.venue.desk.orders.values() if o.link_id and not o.reduce_only]
    assert summary.mode == "live"
    assert summary.orders >= 1
    assert not open_entries, "an unfilled entry stays behind"
    reader = journal(settings, "live")
    ready = [e for e in _events(reader, summary.session) if isinstance(e, VenueState)]
    assert [state.ready for state in ready][:2] == [False, True]
    reader.close()
    assert any(link.startswith(f"{SYMBOL}-") for link in links)
    assert any(line.startswith("API key: may trade contracts") for line in lines)
    assert read_status(settings, SYMBOL)["mode"] == "live"
    assert "the same to the byte" in replay_session(settings, SYMBOL, "live/latest")
    assert "local-secret" not in "".join(lines)
    kept = b"".join(path.read_bytes() for path in (settings.paths.executor / "live").rglob("*") if path.is_file())
    assert b"local-secret" not in kept


def _events(reader: Any, session: int) -> list[Any]:
    from executor.events import decode_event

    return [decode_event(event) for _, event, _ in reader.turns(session)]
