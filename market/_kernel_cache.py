"""Where Numba keeps compiled kernels: a folder for each state of their sources.

Numba's own check looks at the file that defines a kernel, and not at the kernels and constants of other files that were
compiled into it: after an upgrade it would go on running a mixture of old and new code. This room is the first that
every other one imports, so the choice is made here, before any kernel is declared.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_ROOMS = ("market", "features", "council", "simulation", "training")
#: What a file with a kernel says somewhere; the last two are decorators of `features/_layout.py`.
_KERNEL = (b"njit", b"@helper", b"@inlined")
#: Files without a kernel whose constants kernels are compiled with.
_CONSTANTS = ("_layout.py", "events.py")


def choose() -> None:
    """Point Numba to the folder of the present sources, unless the person chose one with ``NUMBA_CACHE_DIR``."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    digest = fingerprint(_ROOT)
    if (_ROOT / "pyproject.toml").exists() and os.access(_ROOT, os.W_OK):
        folder = _ROOT / ".numba_cache"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "purplesky" / "numba"
    os.environ["NUMBA_CACHE_DIR"] = str(folder / digest)
    if "numba" in sys.modules:  # it has read the environment already
        sys.modules["numba"].config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]


def fingerprint(root: Path) -> str:
    """Digest of all files below `root` that have a say in what is compiled: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((root / room).rglob("*.py")):
            content = file.read_bytes()
            if any(word in content for word in _KERNEL) or file.name in _CONSTANTS:
                digest.update(str(file.relative_to(root)).encode() + b"\0" + content)
    return digest.hexdigest()[:16]
