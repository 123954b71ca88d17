"""The documentation: made from the code where it can be, built strictly, offline, and true about commands."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

import purplesky
from simulation.exchange import misbehaviour
from tests.docs import pages, pictures, reference
from tests.docs.source import ROOT
from training import statistics

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ANEW = "write it anew: make docs-reference"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    assert (reference.FOLDER / name).read_text(encoding="utf-8") == reference.page(name), ANEW


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_what_the_code_draws(name: str) -> None:
    assert (pictures.FOLDER / name).read_text(encoding="utf-8") == pictures.PICTURES[name](), ANEW


def test_every_command_is_in_the_reference() -> None:
    page = (reference.FOLDER / "cli.md").read_text(encoding="utf-8")
    for name, command in purplesky.cli.commands.items():
        assert f"\n## {name}\n" in page
        for one in command.params:
            assert not isinstance(one, click.Option) or f"`{one.opts[0]}" in page


# --- what pages tell people to type ----------------------------------------------------------------------------------


def _parse(arguments: list[str]) -> None:
    """Let click take a command line apart as it would before running it; nothing is run."""
    context = purplesky.cli.make_context("purplesky", list(arguments))
    name = next(word for word in arguments if word in purplesky.cli.commands)
    command: click.Command = purplesky.cli.commands[name]
    rest = arguments[arguments.index(name) + 1 :]
    if isinstance(command, click.Group) and rest:
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", pages.written_pages(), ids=lambda page: page.name)
def test_commands_in_blocks_exist(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in pages.shell_blocks(page):
        for arguments in pages.commands(block.text, "purplesky"):
            try:
                _parse(arguments)
            except (click.ClickException, StopIteration, KeyError) as error:
                pytest.fail(f"{page.name}: purplesky {' '.join(arguments)}: {error!r}")


@pytest.mark.parametrize("page", pages.written_pages(), ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    for words in pages.spoken(page, "purplesky"):
        if words[0].startswith(("-", "[", "<")):
            continue
        command = purplesky.cli.commands.get(words[0])
        assert command is not None, f"{page.name}: purplesky {' '.join(words)}"
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, f"{page.name}: purplesky {' '.join(words)}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for page in pages.written_pages():
        told = [words for block in pages.shell_blocks(page) for words in pages.commands(block.text, "make")]
        told += list(pages.spoken(page, "make"))
        for words in told:
            missing = [word for word in words if re.fullmatch("[a-z-]+", word) and word not in targets]
            assert not missing, f"{page.name}: make {' '.join(words)}"


def test_the_page_finds_a_wrong_command() -> None:
    for wrong in (["train"], ["train", "--symbol", "A", "--nonsense"], ["replay", "--symbol", "A"]):
        with pytest.raises(click.ClickException):
            _parse(wrong)
    text = (
        "purplesky lake | head\ncat <<'END'\npurplesky nothing\nEND\n.venv/bin/purplesky features > docs/x.md  # why\n"
    )
    assert list(pages.commands(text, "purplesky")) == [["lake"], ["features"]]


def test_links_of_the_files_at_the_root() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", page.read_text(encoding="utf-8")):
            link = target[0] or target[1]
            assert link.startswith(("http:", "https:")) or (ROOT / link).exists(), f"{page.name}: {link}"


def test_the_worked_example_of_the_statistics() -> None:
    page = (pages.DOCS / "statistics.md").read_text(encoding="utf-8")
    variance = 0.5 / 250
    hurdle = statistics.expected_max_sharpe(100, variance)
    dsr = statistics.deflated_sharpe(2.5 / 250**0.5, 1_250, -3, 10, trials=100, variance=variance)
    assert f"{hurdle:.4f}" in page
    assert f"{dsr:.4f}" in page


# --- the built site --------------------------------------------------------------------------------------------------


class _Assets(HTMLParser):
    """What a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed") and given.get("src"):
            self.found.append(str(given["src"]))
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.found.append(str(given.get("href")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: a link that leads nowhere fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=240, check=False)
    assert built.returncode == 0, built.stderr[-4000:]
    return folder


def test_nothing_comes_from_another_host(site: Path) -> None:
    built = sorted(site.rglob("*.html"))
    assert len(built) > 30
    for page in built:
        assets = _Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        assert assets.found
        assert [one for one in assets.found if re.match(r"(https?:)?//", one)] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_formulas_are_drawn(site: Path) -> None:
    page = (site / "statistics.html").read_text(encoding="utf-8")
    assert page.count('<div class="formula"><svg') >= 6
    assert "$$" not in page
    assert "arithmatex" not in page


def test_no_script_of_formulas_or_diagrams_is_asked_for(site: Path) -> None:
    assert [page.name for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text(encoding="utf-8")] == []


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The site on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_pages_in_a_browser(browser: Browser, address: str) -> None:
    """On a phone nothing is cut off sideways, nothing is asked of another host, and the search finds a setting."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    for name in ("index", "tutorial", "statistics", "concepts/overfitting", "reference/config", "how-to/promote"):
        page.goto(f"{address}/{name}.html")
        width = page.evaluate("document.scrollingElement.scrollWidth")
        assert width <= 390, f"{name} is {width} wide"
        broken = "[...document.images].filter(one => one.complete && !one.naturalWidth).map(one => one.src)"
        assert page.evaluate(broken) == [], name
    page.goto(f"{address}/index.html?q=max_drawdown")
    page.wait_for_selector(".md-search-result__item", state="attached")
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def test_numbers_that_pages_tell() -> None:
    """A figure that a page repeats is the one that the code gives."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"lists the (\d+) things", readme) == [str(len(misbehaviour.schema()["kinds"]))]
