"""The report in a real browser: nothing missing, nothing from elsewhere, readable on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import settings as configuration
from settings import Settings
from tests.training.conftest import make_market
from training.charts import ranking
from training.pipeline import TrainingResult
from training.reliability import measure

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
HEADINGS = (
    "What it would have earned",
    "How much of it is luck",
    "The council",
    "Can its probabilities be believed?",
    "What the models look at",
    "What it was trained on",
)
CHARTS = (
    "Council, out of fold",
    "Council, hold-out",
    "Drawdown",
    "Trades",
    "Sharpe ratio a bar, trial by trial",
    "Deflated Sharpe ratio, by how much is tried",
    "Probability of backtest overfitting",
    "Against random entries",
    "Reliability",
    "Coverage",
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    folder = tmp_path_factory.mktemp("report")
    own = configuration.override(
        Settings(),
        paths={"data": folder / "data"},
        training={
            "timeframe": "1m",
            "trials": 10,
            "members": 2,
            "seed": 5,
            "workers": 1,
            "prune": False,
            "min_path_trades": 3,
            "space": {"rounds": [10, 15]},
        },
    )
    return make_market(3, 1.0, 420).train(own, folder / "out")


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def page(browser: Browser, result: TrainingResult, request: pytest.FixtureRequest) -> Iterator[Page]:
    shown = browser.new_page(viewport=request.param)
    shown.set_default_timeout(10_000)
    told: list[str] = []
    shown.on("console", lambda message: told.append(message.text))
    shown.on("pageerror", lambda error: told.append(str(error)))
    shown.on("request", lambda asked: told.append(asked.url) if not asked.url.startswith("file:") else None)
    shown.goto(result.report.as_uri())
    yield shown
    shown.close()
    assert told == []


def test_nothing_sticks_out_and_every_chart_is_drawn(page: Page) -> None:
    width = page.viewport_size
    assert width is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= width["width"]
    assert page.locator("h1").first.bounding_box()["y"] < 200  # type: ignore[index]
    assert page.locator("h1").first.inner_text() in ("The gate: passed", "The gate: failed")
    for name in page.locator(".ranking span").all():  # names of features break between their words only
        assert name.bounding_box()["height"] < 60  # type: ignore[index]
        assert name.evaluate("one => one.scrollWidth <= one.clientWidth + 1")
    assert [one.inner_text() for one in page.locator("h2").all()][: len(HEADINGS)] == list(HEADINGS)
    labels = [one.get_attribute("aria-label") for one in page.locator("svg").all()]
    assert labels == list(CHARTS)
    for drawing in page.locator("svg").all():
        box = drawing.bounding_box()
        assert box is not None
        assert box["width"] > 0.6 * min(width["width"], 900)
        assert box["height"] > 150
        assert drawing.locator("polyline, path.dots, rect").count() > 0
    for words in page.locator("figure b, td, .note, li").all()[:80]:
        assert "nan" not in words.inner_text().lower().split()


def test_tables_scroll_by_themselves(page: Page) -> None:
    for table in page.locator(".table").all():
        box = table.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.viewport_size["width"]  # type: ignore[index]


def test_it_tells_what_decides(result: TrainingResult) -> None:
    text = result.report.read_text(encoding="utf-8")
    for said in (
        "Features (SHAP)",
        "Tuned parameters",
        "calibration error",
        "Bars left out",
        "Search space",
        "out of fold, long",
    ):
        assert said in text
    for foreign in ("http://", "https://", "<script", "<link", "@import", "url("):
        assert foreign not in text


def test_reliability_of_perfect_and_of_boastful_probabilities() -> None:
    generator = np.random.default_rng(4)
    chance = generator.uniform(0.2, 0.8, 20_000)
    won = (generator.random(20_000) < chance).astype(np.float64)
    honest = measure(chance, won)
    assert honest.error < 0.02
    assert honest.skill > 0.05
    np.testing.assert_allclose(honest.said, honest.happened, atol=0.05)
    boastful = measure(np.clip(0.5 + 2.0 * (chance - 0.5), 0.0, 1.0), won)
    assert boastful.error > 0.1
    assert boastful.brier > honest.brier
    nothing = measure(np.empty(0), np.empty(0))
    assert nothing.count == 0
    assert np.isnan([nothing.error, nothing.skill]).all()


def test_a_ranking_names_and_measures(tmp_path: Path) -> None:
    html = ranking([("<one>", 0.5), ("two", 0.25)], title="T", note="N")
    assert "&lt;one&gt;" in html
    assert "50.0 %" in html
    assert html.index("one") < html.index("two")
