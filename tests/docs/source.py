"""What the reference pages read out of the code: docstrings, and calls whose arguments are written out."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("market", "features", "council", "simulation", "training", "executor", "flows", "commands")


def modules(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    """Name and syntax tree of every module of some rooms, by name."""
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts), ast.parse(path.read_text(encoding="utf-8"))


def attributes(documented: object) -> dict[str, str]:
    """The entries of a NumPy docstring's sections Attributes and Parameters, names to text."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (inspect.getdoc(documented) or "").splitlines():
        if re.match(r"[a-z_][\w, ]*( :.*)?$", line) and not line.startswith("-"):
            names = [name.strip() for name in line.split(" :")[0].split(",")]
        elif line.startswith("    ") and names:
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        elif line.strip():
            names = []
    return found


def plain(text: str) -> str:
    """A docstring's words for a Markdown table: no roles, no line breaks, no bars."""
    text = re.sub(r":\w+:`~?\.?([^`]*?)`", lambda match: f"`{match[1].rsplit('.', 1)[-1]}`", text)
    text = re.sub(r"\s*\[\d+\]_", "", text).replace("``", "`")
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def written(node: ast.expr) -> str:
    """A string as it is written: what an f-string puts in stands in angle brackets."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"<{_short(part.value)}>" if isinstance(part, ast.FormattedValue) else str(getattr(part, "value", ""))
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return written(node.left) + written(node.right)
    if isinstance(node, ast.IfExp):
        return f"{written(node.body)} / {written(node.orelse)}"
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.JoinedStr):
        return written(node.args[0])
    return f"<{_short(node)}>"


def _short(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return _short(node.args[0]) if node.args else _short(node.func)
    if isinstance(node, ast.Subscript):
        return _short(node.slice if isinstance(node.slice, ast.Constant) else node.value)
    if isinstance(node, ast.Attribute):
        return node.attr.replace("_", " ").strip()
    if isinstance(node, ast.Name):
        return node.id.replace("_", " ").strip()
    if isinstance(node, ast.Constant):
        return str(node.value)
    return "…"


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    """Calls of functions or methods of these names, in source order."""
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) in names
    ]
    yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"
