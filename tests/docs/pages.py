"""Reading the documentation's Markdown: which pages there are, their shell blocks, and what those would run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docs.source import ROOT

DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)
_TITLE = re.compile(r'title="([^"]*)"')


@dataclass(frozen=True)
class Block:
    """A fenced shell block.

    Attributes
    ----------
    page
        Where it stands.
    title
        Its title; empty without one.
    text
        What is in it.
    """

    page: Path
    title: str
    text: str


def written_pages() -> list[Path]:
    """The pages that people wrote or read first: all of docs/ and the files at the root."""
    return [*sorted(DOCS.rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def shell_blocks(page: Path) -> list[Block]:
    """The shell blocks of a page, in order. A block without a language counts where it looks like commands."""
    found = []
    for match in _FENCE.finditer(page.read_text(encoding="utf-8")):
        language = match["info"].split()[0] if match["info"].split() else ""
        if language in ("bash", "sh", "console"):
            title = _TITLE.search(match["info"])
            found.append(Block(page, title[1] if title else "", match["body"]))
    return found


def commands(text: str, program: str) -> Iterator[list[str]]:
    """Arguments of every call of a program in shell text; here-documents are left out."""
    text = re.sub(r"<<'?(\w+)'?\n.*?^\1$", "", text, flags=re.M | re.S).replace("\\\n", " ")
    for line in text.splitlines():
        for piece in re.split(r"\||&&|;", re.sub(r"(^|\s)#.*", "", line)):
            words = shlex.split(piece.replace("…", "x")) if program in piece else []
            place = next((n for n, word in enumerate(words) if word == program or word.endswith(f"/bin/{program}")), -1)
            if place >= 0:
                stop = next((n for n, word in enumerate(words) if word.startswith((">", "2>"))), len(words))
                yield words[place + 1 : stop]


def spoken(page: Path, program: str) -> Iterator[list[str]]:
    """Calls of a program that stand in the running text, between backticks."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in re.finditer(rf"`{program} ([^`]+)`", text):
        yield shlex.split(match[1].replace("'", "").replace("\n", " "))
