"""The tutorial as a person would go through it: its blocks in two shells, in a folder with nothing in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.docs.pages import DOCS, Block, shell_blocks

PAGE = DOCS / "tutorial.md"
#: Title of the block that installs: a test finds itself in what it made.
ONCE = "once, in the checkout"
#: Title of blocks for the other terminal: what runs there goes on.
SECOND = "second terminal"


def environment(home: Path) -> dict[str, str]:
    """Of somebody who has just activated the environment: no settings, a home of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PURPLESKY_", "PREFECT_"))}
    binaries = Path(sys.executable).parent
    return kept | {"HOME": str(home), "PATH": f"{binaries}{os.pathsep}{kept['PATH']}", "PYTHONUNBUFFERED": "1"}


def blocks() -> list[Block]:
    """What is typed after the installation, in order."""
    return [block for block in shell_blocks(PAGE) if block.title != ONCE]


def changed(block: Block, changes: Mapping[str, str]) -> str:
    """A block's text, after literal replacements."""
    text = block.text
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


@contextmanager
def second_terminal(text: str, folder: Path, env: Mapping[str, str], ready: str) -> Iterator[None]:
    """Run a block while the other terminal goes on; Ctrl-C ends it.

    Parameters
    ----------
    ready
        What it prints once it can be used.
    """
    log = folder / "second-terminal.log"
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", f"exec {text.strip()}"], cwd=folder, env=dict(env), stdout=out, stderr=out
        )
    try:
        until = time.monotonic() + 400
        while ready not in log.read_text(encoding="utf-8"):
            if shell.poll() is not None or time.monotonic() > until:
                raise AssertionError(log.read_text(encoding="utf-8"))
            time.sleep(0.2)
        yield
    finally:
        shell.send_signal(signal.SIGINT)
        shell.wait(30)


def run(text: str, folder: Path, env: Mapping[str, str], seconds: float) -> str:
    """Run a block as bash does with ``-e``; its output.

    Raises
    ------
    AssertionError
        A command failed.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout
