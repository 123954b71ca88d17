"""Compiled kernels never outlive the sources that they were compiled from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from market import _kernel_cache

CALLEE = "from numba import njit\n@njit(cache=True)\ndef inner(x):\n    return x + {}\n"
CALLER = """
from market._callee import inner
from numba import njit
@njit(cache=True)
def outer(x):
    return inner(x)
print(outer(1))
"""


def test_a_change_in_another_file_is_seen(tmp_path: Path) -> None:
    """Numba alone would answer 2 twice: the caller's own file has not changed."""
    room = tmp_path / "market"
    room.mkdir()
    (tmp_path / "pyproject.toml").touch()
    source = Path(_kernel_cache.__file__)
    (room / "_kernel_cache.py").write_bytes(source.read_bytes())
    (room / "__init__.py").write_text("from market import _kernel_cache\n_kernel_cache.choose()\n")
    (room / "_caller.py").write_text(CALLER)
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    answers = []
    for number in (1, 2):
        (room / "_callee.py").write_text(CALLEE.format(number))
        done = subprocess.run(
            [sys.executable, "-m", "market._caller"],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        answers.append(done.stdout.strip())
    assert answers == ["2", "3"]
    assert len(list((tmp_path / ".numba_cache").iterdir())) == 2


def test_the_persons_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "chosen")
    _kernel_cache.choose()
    assert os.environ["NUMBA_CACHE_DIR"] == "chosen"


def test_constants_count_and_prose_does_not(tmp_path: Path) -> None:
    room = tmp_path / "simulation"
    room.mkdir()
    (room / "_layout.py").write_text("A = 1\n")
    (room / "other.py").write_text("B = 1\n")
    before = _kernel_cache.fingerprint(tmp_path)
    (room / "other.py").write_text("B = 2\n")
    assert _kernel_cache.fingerprint(tmp_path) == before
    (room / "_layout.py").write_text("A = 2\n")
    assert _kernel_cache.fingerprint(tmp_path) != before


@pytest.mark.parametrize("name", ["features/_book.py", "simulation/_kernel_book.py", "training/outcomes.py"])
def test_whatever_decorator_makes_a_kernel_its_file_counts(tmp_path: Path, name: str) -> None:
    source = (Path(__file__).parents[2] / name).read_text(encoding="utf-8")
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    file.write_text(source, encoding="utf-8")
    before = _kernel_cache.fingerprint(tmp_path)
    file.write_text(source + "\n# another kernel\n", encoding="utf-8")
    assert _kernel_cache.fingerprint(tmp_path) != before
