"""The report site in a real browser, offline: from the index down to a result of Great Expectations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flows.validation import FeatureInput, validate
from market import Lake
from tests.flows.archives import SYMBOL

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DAY = "2026-03-01"
WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def site(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, all suites included."""
    folder = tmp_path_factory.mktemp("site")
    validate(lake, SYMBOL, reports=folder / "reports", features=FeatureInput(folder / "store", 60_000, 200))
    return folder / "reports"


@pytest.fixture(params=list(WIDTHS))
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that reaches files only, and fails the test for anything that it complains about."""
    width, height = WIDTHS[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    complaints: list[str] = []
    asked: list[str] = []
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda one: asked.append(one.url))
    yield opened
    context.close()
    assert not complaints
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


#: Boxes whose content is wider than they are, so that it is cut off until somebody scrolls sideways.
_CUT_OFF = """() => [...document.querySelectorAll("body *")].filter(
    (box) => getComputedStyle(box).overflowX !== "visible" && box.clientWidth && box.scrollWidth > box.clientWidth + 1
).map((box) => `${box.tagName}.${box.className}`)"""


def _fits(page: Page) -> None:
    """Nothing sticks out to the right, of the page or of a card: a person scrolls down, not sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url
    assert page.evaluate(_CUT_OFF) == [], page.url


def test_from_the_index_to_a_result(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    _fits(page)
    page.get_by_role("link", name=SYMBOL).click()
    assert page.get_by_text("usable, with care").first.is_visible()
    _fits(page)
    assert page.locator("svg.ribbon").first.is_visible()
    page.get_by_role("link", name=DAY).first.click()
    assert page.get_by_role("heading", name=f"{SYMBOL} on {DAY}").is_visible()
    _fits(page)
    plots = page.locator("svg.plot")
    assert plots.count() == 8
    for number in range(plots.count()):
        plots.nth(number).scroll_into_view_if_needed()
        box = plots.nth(number).bounding_box()
        assert box is not None
        assert box["width"] > 200
        assert box["height"] > 60
        assert plots.nth(number).locator("path.line, path.bars").count() > 0
    assert page.locator("figure .area span").count() >= 3 * 8  # the axes' numbers
    ribbon = page.locator("svg.ribbon")
    assert ribbon.first.is_visible()
    assert ribbon.locator("rect.suspect").count() == 1
    assert page.locator("#suspect").get_by_text("100 s").first.is_visible()
    page.get_by_role("link", name="Data Docs").first.click()
    _fits(page)
    for table in ("minutes", "day", "features", "bars", "drift"):
        page.goto((site / SYMBOL / "docs" / "index.html").as_uri())
        page.locator("tr", has_text=DAY).get_by_role("link", name=table, exact=True).click()
        assert page.locator(".ge-section").first.is_visible()
        _fits(page)
        page.goto((site / SYMBOL / "docs" / "index.html").as_uri())
        page.locator("p.soft").get_by_role("link", name=table, exact=True).click()
        assert page.get_by_text("Expectation Suite").first.is_visible()
        _fits(page)


def test_results_unfold_and_filter(site: Path, page: Page) -> None:
    page.goto((site / SYMBOL / "docs" / "index.html").as_uri())
    page.locator("tr", has_text=DAY).get_by_role("link", name="minutes", exact=True).click()
    rows = page.locator("tr:visible", has=page.locator(".fa-check-circle"))
    before = rows.count()
    assert before > 10
    page.evaluate("hideSucceededValidations()")
    assert page.locator("tr:visible", has=page.locator(".fa-check-circle")).count() < before
    assert page.locator(".fa-times:visible").count() >= 4
