"""The study: what is drawn, what is scored, what is stopped early, and that a kill changes nothing."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FrozenTrial

from council import StrategyParams
from market.errors import ConfigError, TrainingError
from tests.training import study_process
from training.selection import select
from training.space import booster_of, search_space, strategy_of
from training.study import Configuration, Proposer, Search, StudyResult
from training.studybook import JOURNAL, Heritage, StudyBook, finished, inherit, tidy
from training.trial import CREDIBLE, Record, State, path_score

SPACE = search_space()


def test_every_dimension_is_declared_once_and_explained() -> None:
    names = [one.name for one in SPACE.dimensions]
    assert len(set(names)) == len(names)
    assert all(one.why for one in SPACE.dimensions)
    fields = set(StrategyParams.__slots__) | {"num_leaves", "learning_rate", "rounds", "min_child_share"}
    assert fields <= set(names)
    assert all(f"| `{name}` |" in SPACE.markdown() for name in names)


def test_the_config_replaces_dimensions() -> None:
    space = search_space(
        {"stop_atr": [1.0, 2.0], "learning_rate": {"low": 0.1, "high": 0.2, "log": True}, "rounds": 40}
    )
    for number in range(12):
        drawn = Proposer(Search(space, 12, seed=3), Heritage()).draw(number, {}) if number < 5 else None
        if drawn is not None:
            assert drawn.params["stop_atr"] in (1.0, 2.0)
            assert 0.1 <= drawn.params["learning_rate"] <= 0.2
            assert drawn.params["rounds"] == 40
            assert strategy_of(drawn.params).stop_atr == drawn.params["stop_atr"]
            assert booster_of(drawn.params).rounds == 40
    assert space.key() != SPACE.key()


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        ({"stop_art": [1.0]}, "stop_art is not a tuned parameter"),
        ({"stop_atr": []}, "no values"),
        ({"stop_atr": [2.0, 2.0]}, "one twice"),
        ({"stop_atr": {"low": 3.0, "high": 1.0}}, "not a range"),
        ({"stop_atr": {"low": 1.0, "up": 2.0}}, "not a range"),
        ({"stop_atr": [-1.0]}, "impossible"),
        ({"num_leaves": 1}, "impossible"),
        ({"rounds": {"low": 0, "high": 9}}, "impossible"),
        ({"bagging_fraction": 1.5}, "impossible"),
    ],
)
def test_an_impossible_space_is_refused_by_name(overrides: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        search_space(overrides)


def _paths(gain: float, trades: int, bars: int = 1_000, spread: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Sharpe ratios and trades of five paths of a strategy with this mean gain a trade."""
    generator = np.random.default_rng(1)
    sharpes = []
    for _ in range(5):
        returns = np.zeros(bars)
        returns[:trades] = generator.normal(gain, spread, trades)
        sharpes.append(returns.mean() / returns.std(ddof=1) if trades else math.nan)
    return np.array(sharpes), np.full(5, trades)


def test_three_lucky_trades_are_worth_nothing() -> None:
    lucky = np.zeros(1_000)
    lucky[[10, 500, 900]] = 0.02
    sharpes = np.full(5, lucky.mean() / lucky.std(ddof=1))
    assert math.isnan(path_score(sharpes, np.full(5, 3), 1_000, min_trades=10))
    # Even where so few are allowed, they lose against a modest gain that rests on many trades.
    few = path_score(sharpes, np.full(5, 3), 1_000, min_trades=1)
    assert few == pytest.approx(math.sqrt(1_000) * sharpes[0] * 3 / (3 + CREDIBLE))
    many = path_score(*_paths(0.002, 200), 1_000, min_trades=10)
    assert math.sqrt(1_000) * sharpes[0] > 1.7
    assert few < 0.3 < many


def test_standing_aside_is_never_the_best() -> None:
    idle = path_score(*_paths(0.0, 0), 1_000, min_trades=10)
    assert math.isnan(idle)
    one_path_idle = np.array([0.1, 0.1, math.nan, 0.1, 0.1])
    assert math.isnan(path_score(one_path_idle, np.array([50, 50, 0, 50, 50]), 1_000, min_trades=0))
    # A loss is not softened by trading less: two losers with the same t differ by nothing.
    few, many = (path_score(np.full(5, -0.1), np.full(5, trades), 1_000, min_trades=10) for trades in (10, 500))
    assert few == many < 0


def test_paths_that_disagree_are_worth_less() -> None:
    trades = np.full(5, 100)
    calm = path_score(np.full(5, 0.05), trades, 1_000, min_trades=10)
    torn = path_score(np.array([-0.05, 0.15, 0.05, 0.0, 0.1]), trades, 1_000, min_trades=10)
    assert torn < calm


def _record(number: int, score: float, steps: dict[int, float] | None = None) -> Record:
    state: State = "complete" if math.isfinite(score) else "silent"
    three = np.full(3, score)
    return Record(
        number, state, three, three, three, np.zeros((3, 4)), steps or {5: score}, np.zeros((1, 4, 2), np.float32), 0, 0
    )


def test_a_trial_depends_on_what_it_may_know_and_on_nothing_else() -> None:
    search = Search(SPACE, 30, seed=5, ahead=3, random_trials=4)

    def draw_all(scores: Callable[[int], float], count: int = 14) -> list[dict[str, object]]:
        proposer, drawn = Proposer(search, Heritage()), []
        done: dict[int, FrozenTrial] = {}
        for number in range(count):
            proposal = proposer.draw(number, done)
            drawn.append(proposal.params)
            done[number] = finished(_record(number, scores(number)), proposal)
        return drawn

    one = draw_all(lambda number: float(number % 5))
    assert one == draw_all(lambda number: float(number % 5))
    # Trial 10 may know the trials before number 7: another score of trial 7 changes nothing before trial 11.
    other = draw_all(lambda number: 99.0 if number == 7 else float(number % 5))
    assert one[:11] == other[:11]
    assert one != other
    # A proposer that begins in the middle, after a kill, draws the same.
    proposer = Proposer(search, Heritage())
    done: dict[int, FrozenTrial] = {}
    whole = Proposer(search, Heritage())
    for number in range(10):
        proposal = whole.draw(number, done)
        done[number] = finished(_record(number, float(number % 5)), proposal)
    assert proposer.draw(10, done).params == one[10]
    assert draw_all(lambda number: math.nan)[:4] == one[:4]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return study_process.run(tmp_path_factory.mktemp("whole"))


def _same(one: StudyResult, other: StudyResult) -> None:
    assert [trial.params for trial in one.finished] == [trial.params for trial in other.finished]
    assert [trial.user_attrs["steps"] for trial in one.finished] == [
        trial.user_attrs["steps"] for trial in other.finished
    ]
    np.testing.assert_array_equal(one.sharpes(), other.sharpes())
    np.testing.assert_array_equal(one.returns(), other.returns())
    for mine, theirs in zip(_council(one), _council(other), strict=True):
        assert (mine.trial, mine.share) == (theirs.trial, theirs.share)
        np.testing.assert_array_equal(mine.predictions, theirs.predictions)


def _council(study: StudyResult) -> list[Configuration]:
    return select(study.configurations, 3, 0.95)


def test_a_killed_study_goes_on_to_the_same_council(whole: StudyResult, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.training.study_process", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if int(line) == 4:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.read()
    assert process.wait() == -signal.SIGKILL
    # What a kill in the middle of a write leaves behind: half a line, a half-written file, a stale lock.
    with (folder / JOURNAL).open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id"')
    (folder / "trial-00099.part").write_bytes(b"half")
    (folder / (JOURNAL + ".lock")).symlink_to(folder / JOURNAL)
    again = study_process.run(folder)
    assert 4 <= again.resumed < study_process.TRIALS
    assert again.trials == study_process.TRIALS
    _same(whole, again)
    with StudyBook(folder, Heritage(), "") as book:
        numbers = [trial.user_attrs["number"] for trial in book.study.get_trials(deepcopy=False)]
    assert sorted(numbers) == list(range(study_process.TRIALS))


def test_lost_arrays_are_made_again(whole: StudyResult, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    study_process.run(folder, trials=4)
    (folder / "trial-00002.npz").unlink()
    longer = study_process.run(folder)
    assert longer.resumed == 3
    _same(whole, longer)


def test_processes_change_nothing(whole: StudyResult, tmp_path: Path) -> None:
    _same(whole, study_process.run(tmp_path / "study", workers=2))


def test_no_trial_is_started_after_the_time_budget(whole: StudyResult, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert study_process.run(folder, time_budget_s=1e-9).trials == 0
    # What was left out is made up for when there is time again.
    later = study_process.run(folder, trials=2)
    assert [trial.params for trial in later.finished] == [trial.params for trial in whole.finished[:2]]


def test_trials_below_the_median_are_stopped_and_still_count(whole: StudyResult) -> None:
    ends = {trial.user_attrs["ended"] for trial in whole.finished}
    assert ends <= {"complete", "pruned", "silent"}
    assert len(whole.configurations) == 3 * whole.trials
    for one in whole.configurations:
        if whole.finished[one.trial].user_attrs["ended"] != "complete":
            assert math.isnan(one.score)
            assert one.predictions.size == 0
        assert one.returns.shape == whole.configurations[0].returns.shape
    assert whole.tried == len(whole.configurations)


def test_a_study_is_run_by_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        StudyBook(tmp_path, Heritage(), ""),
        pytest.raises(TrainingError, match="running already"),
        StudyBook(tmp_path, Heritage(), ""),
    ):
        pass


def test_a_worker_that_dies_is_an_error_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(TrainingError, match=r"worker process died in trial \d .exit code 1"):
        study_process.run(tmp_path / "study", workers=2, trials=2)


def test_yesterdays_study_seeds_todays_and_counts(tmp_path: Path) -> None:
    def study(name: str, heritage: Heritage, scores: list[float]) -> None:
        with StudyBook(tmp_path / name, heritage, SPACE.key()) as book:
            proposer = Proposer(Search(SPACE, 9, seed=1), book.heritage)
            for number, score in enumerate(scores):
                book.keep(_record(number, score), proposer.draw(number, {}))

    study("BTCUSDT-5m-a", Heritage(), [1.0, 3.0, math.nan, 2.0])
    taken = inherit(tmp_path, "BTCUSDT-5m-", "BTCUSDT-5m-b", SPACE.key(), best=2)
    assert (taken.source, taken.tried, len(taken.seeds)) == ("BTCUSDT-5m-a", 12, 2)
    first = Proposer(Search(SPACE, 9, seed=1), Heritage()).draw(1, {}).params
    assert taken.seeds[0] == first
    # The heir begins with them, and hands on what both have tried.
    assert Proposer(Search(SPACE, 9, seed=2), taken).draw(0, {}).params == first
    study("BTCUSDT-5m-b", taken, [5.0])
    assert inherit(tmp_path, "BTCUSDT-5m-", "BTCUSDT-5m-c", SPACE.key(), best=2).tried == 15
    # Of another search space, of another contract, or nothing at all: nothing is taken.
    assert inherit(tmp_path, "BTCUSDT-5m-", "", search_space({"rounds": 40}).key(), best=2) == Heritage()
    assert inherit(tmp_path, "ETHUSDT-5m-", "", SPACE.key(), best=2) == Heritage()
    tidy(tmp_path, "BTCUSDT-5m-", keep=1)
    assert not list((tmp_path / "BTCUSDT-5m-a").glob("*.npz"))
    assert list((tmp_path / "BTCUSDT-5m-b").glob("*.npz"))
    assert (tmp_path / "BTCUSDT-5m-a" / JOURNAL).exists()


def test_the_documented_space_is_the_declared_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "search-space.md"
    assert SPACE.markdown() in page.read_text(encoding="utf-8")
