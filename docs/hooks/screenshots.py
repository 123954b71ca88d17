"""A hook of MkDocs: the pictures of a real promotion, which a test of the servers takes, where a page asks for them.

``docs/images/promote-<n>-<what>.png`` stand in their order in place of the comment; without any, nothing does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_PLACE = "<!-- screenshots -->"
_IMAGES = Path(__file__).parents[1] / "images"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the pictures into a page, each under its name."""
    if _PLACE not in markdown:
        return markdown
    shown = []
    for path in sorted(_IMAGES.glob("promote-*.png")):
        number, _, words = path.stem.removeprefix("promote-").partition("-")
        caption = f"{number}. {words.replace('-', ' ').capitalize()}"
        shown.append(f"**{caption}**\n\n![{caption}](../images/{path.name})\n")
    heading = "### What it looks like\n\n" if shown else ""
    return markdown.replace(_PLACE, heading + "\n".join(shown))
