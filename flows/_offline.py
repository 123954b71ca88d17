"""Data Docs that read offline: out of the box they take style sheets, scripts and icons from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

from flows import _docs_assets as assets

#: Attributes that make a browser fetch something.
_FETCHING = {"src", "srcset", "poster", "data", "background"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
#: Of the files that Great Expectations copies into a site, those that its pages show.
_KEPT = {"logo-long.png"}


class _Offline(HTMLParser):
    """Rewrites a page so that a browser fetches nothing from elsewhere.

    Scripts, style sheets and the newsletter's footer go; one style sheet and one small script of ours come instead.
    """

    def __init__(self, root: str) -> None:
        super().__init__(convert_charrefs=False)
        self._root = root
        self._out: list[str] = []
        self._skipped = ""
        self._depth = 0

    def text(self) -> str:
        return re.sub(r"(?:[ \t]*\n){3,}", "\n\n", "".join(self._out))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self._skipped:
            self._depth += tag == self._skipped
            return
        given = {key: value or "" for key, value in attributes}
        if tag in ("script", "style", "footer"):
            self._skipped, self._depth = tag, 1
            return
        if tag == "link":
            return
        if tag == "img" and _elsewhere(given.get("src", "")):
            given["src"] = f"{self._root}static/images/logo-long.png"
        if tag == "a" and _elsewhere(given.get("href", "")):
            given.pop("href")
        for key in [key for key, value in given.items() if key in _FETCHING and _elsewhere(value)]:
            given.pop(key)
        text = "".join(f' {key}="{_escape(value)}"' for key, value in given.items())
        self._out.append(f"<{tag}{text}>")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in _VOID and not self._skipped:
            self._out.append(f"</{tag}>")
        elif self._skipped == tag:
            self._skipped = ""

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            self._depth -= tag == self._skipped
            if self._depth == 0:
                self._skipped = ""
            return
        if tag == "head":
            self._out.append(
                '<link rel="icon" href="data:,">\n'
                f'<link rel="stylesheet" href="{self._root}static/{assets.STYLE_NAME}">\n'
                f'<script defer src="{self._root}static/{assets.SCRIPT_NAME}"></script>\n'
            )
        if tag not in _VOID:
            self._out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self._keep(data)

    def handle_entityref(self, name: str) -> None:
        self._keep(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._keep(f"&#{name};")

    def handle_decl(self, decl: str) -> None:
        self._keep(f"<!{decl}>")

    def _keep(self, text: str) -> None:
        if not self._skipped:
            self._out.append(text)


def _elsewhere(address: str) -> bool:
    return address.strip().lower().startswith(("http:", "https:", "//"))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def make_offline(site: Path) -> None:
    """Rewrite the pages of a site, and put our assets beside them."""
    static = site / "static"
    for file in [path for path in static.rglob("*") if path.is_file() and path.name not in _KEPT]:
        file.unlink()
    for folder in sorted((path for path in static.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    static.mkdir(parents=True, exist_ok=True)
    (static / assets.STYLE_NAME).write_text(assets.STYLE, encoding="utf-8")
    (static / assets.SCRIPT_NAME).write_text(assets.SCRIPT, encoding="utf-8")
    for page in site.rglob("*.html"):
        rewriter = _Offline("../" * (len(page.relative_to(site).parts) - 1))
        rewriter.feed(page.read_text(encoding="utf-8"))
        rewriter.close()
        page.write_text(_PASSED_UNSEEN.sub(_mark_unseen, rewriter.text()), encoding="utf-8")


#: A row whose status is a tick although its observed value is empty: nothing was there to be judged.
_PASSED_UNSEEN = re.compile(r"fa-check-circle text-success((?:(?!</tr>|<i ).)*?>)--(</div>\s*</td>\s*</tr>)", re.DOTALL)


def _mark_unseen(found: re.Match[str]) -> str:
    return f"fa-question text-warning{found[1]}unknown: nothing to judge{found[2]}"
