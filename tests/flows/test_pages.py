"""The pages read offline: nothing that a browser would fetch from elsewhere is left, and every link leads somewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

from flows import _pages, _svg
from flows._offline import make_offline
from flows.validation import ValidationReport
from tests.flows.archives import SYMBOL


class Assets(HTMLParser):
    """Collects what a page fetches and where it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a":
            self.links += [given["href"]] if "href" in given else []
        else:
            self.fetched += [given[key] for key in ("href", "src", "srcset", "data", "poster") if key in given]


def read(page: Path) -> Assets:
    assets = Assets()
    assets.feed(page.read_text(encoding="utf-8"))
    return assets


@pytest.fixture(scope="module")
def pages(judged: ValidationReport, reports: Path) -> list[Path]:
    found = sorted(reports.rglob("*.html"))
    assert len(found) == 11  # all symbols, the symbol, two days; Data Docs' front, two suites and their four results
    return found


def test_no_page_asks_another_host(pages: list[Path], reports: Path) -> None:
    for page in pages:
        for address in read(page).fetched:
            assert not urlsplit(address).netloc, f"{page}: {address}"
    for file in reports.rglob("*"):
        if file.suffix in {".html", ".css", ".js"}:
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"""(?:src|srcset)\s*=\s*["']?(?:https?:)?//""", text), file
            assert not re.search(r"""(?:url\(|@import|fetch\(|import\s)\s*["']?(?:https?:)?//""", text), file
            assert not re.search(r"<(?:link|script|img|iframe)[^>]*https?://", text), file


def test_every_link_leads_somewhere(pages: list[Path]) -> None:
    for page in pages:
        assets = read(page)
        for address in assets.links + assets.fetched:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            assert not parts.scheme, f"{page}: {address}"
            target = page if not parts.path else (page.parent / unquote(parts.path))
            assert target.is_file(), f"{page}: {address}"
            if parts.fragment and target == page:
                assert unquote(parts.fragment) in assets.ids, f"{page}: {address}"


def test_the_day_page_says_what_matters(judged: ValidationReport, reports: Path) -> None:
    text = (reports / SYMBOL / "2026-03-01.html").read_text(encoding="utf-8")
    assert "Usable, with care" in text
    assert "22:29:59 to 22:31:39 (100 s)" in text
    assert text.count("<svg") == 9
    for title in ("Spread", "Depth of the five best bids", "Trades a minute", "Gaps and stalls"):
        assert title in text
    index = (reports / SYMBOL / "index.html").read_text(encoding="utf-8")
    assert "2026-03-01" in index
    assert "2026-03-02" in index
    assert SYMBOL in (reports / "index.html").read_text(encoding="utf-8")


def test_data_docs_do_not_call_the_unknown_a_pass(judged: ValidationReport, reports: Path) -> None:
    (page,) = (reports / SYMBOL / "docs" / "validations" / f"{SYMBOL}-minutes" / "2026-03-02").rglob("*.html")
    text = page.read_text(encoding="utf-8")
    section = text[text.index("messages arrive in time") - 900 : text.index("messages arrive in time") + 900]
    assert "unknown: nothing to judge" in section
    assert "fa-check-circle" not in section


def test_symbols_are_escaped_out_of_foreign_pages(tmp_path: Path) -> None:
    """The rewriter keeps text and attributes as they were, and drops only what fetches or runs."""
    (tmp_path / "static").mkdir()
    page = tmp_path / "a" / "b.html"
    page.parent.mkdir()
    page.write_text(
        '<!DOCTYPE html><html><head><script src="//cdn/x.js"></script><style>a{}</style>'
        '<link rel="stylesheet" href="https://cdn/x.css"></head><body><p title="a &quot;b&quot;">1 &lt; 2 &#233;</p>'
        '<script>if (a < b) { "</p>" }</script><img src="https://x/y.png"><a href="https://x">t</a>'
        "<footer><b>news</b></footer><br/><i class=x></i></body></html>",
        encoding="utf-8",
    )
    make_offline(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert '<p title="a &quot;b&quot;">1 &lt; 2 &#233;</p>' in text
    assert '<img src="../static/images/logo-long.png">' in text
    assert "<a>t</a>" in text
    assert '<br><i class="x"></i></body>' in text
    for gone in ("cdn", "news", "<style", "if (a"):
        assert gone not in text
    assert text.count('href="../static/purplesky.css"') == 1


def test_plots_show_holes_and_cuts() -> None:
    minutes = np.arange(100)
    values = np.ones(100)
    values[50] = np.nan
    text = _svg.series(minutes, values, label="x < y", unit="u")
    assert text.count('class="line"') == 2  # the hole is not bridged
    assert "x &lt; y" in text
    values[10] = 1e6
    assert 'class="cut"' in _svg.series(np.arange(1000) % 1440, np.r_[values, np.ones(900)], label="x", unit="u")
    spikes = np.zeros(1000)
    spikes[500] = 30.0
    assert 'class="cut"' not in _svg.series(np.arange(1000), spikes, label="x", unit="u", bars=True)
    assert "nothing is known" in _svg.series(minutes, np.full(100, np.nan), label="x", unit="u")
    assert "<svg" in _svg.series(np.array([3]), np.array([0.0]), label="x", unit="u")


def test_the_worst_finding_comes_first(judged: ValidationReport) -> None:
    first = judged.days[0]
    told, masked = replace(first.findings[0], action="warn", check="told"), first.findings[0]
    blocked = replace(first.findings[0], action="block", check="stops")
    text = _pages._findings(replace(first, checks=(told, masked, blocked)))
    places = [text.index(f'id="{name}"') for name in ("stops", masked.check, "told")]
    assert places == sorted(places)
