"""A hook of MkDocs: formulas become inline SVG while the site is built, so that no page needs a script for them.

``$$ … $$`` in a page is TeX as matplotlib's mathtext knows it; GitHub renders the same text by itself.
"""

from __future__ import annotations

import html
import io
import re
from typing import Any

_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)


def on_page_content(content: str, **_: Any) -> str:
    """Replace the formulas of a page."""
    content = _BLOCK.sub(lambda match: f'<div class="formula">{_svg(match[1])}</div>', content)
    return _INLINE.sub(lambda match: _svg(match[1], inline=True), content)


def _svg(text: str, *, inline: bool = False) -> str:
    from matplotlib import mathtext, rc_context
    from matplotlib.font_manager import FontProperties

    tex = " ".join(html.unescape(text).split())
    buffer = io.BytesIO()
    settings = {"svg.fonttype": "path", "svg.hashsalt": tex, "mathtext.fontset": "cm"}
    with rc_context(settings):
        size = 11 if inline else 14
        depth = mathtext.math_to_image(f"${tex}$", buffer, prop=FontProperties(size=size), format="svg")
    svg = buffer.getvalue().decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    # The page's own colour, in the light and in the dark; the white ground of the figure goes.
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.S)
    svg = re.sub(r'<g id="text_1">', '<g fill="currentColor">', svg, count=1)
    label = html.escape(tex, quote=True)
    style = f' style="vertical-align: -{float(depth or 0):.1f}pt"' if inline else ""
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}"{style} ', 1)
