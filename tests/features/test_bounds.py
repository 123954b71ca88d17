"""``make test-bounds`` runs the kernels with every index checked; here, that it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

BEYOND = """
import numpy as np
from numba import njit
from features._layout import helper, inlined

@inlined
def peek(array, at):
    return array[at]

@helper
def poke(array, at):
    array[at] = 1.0

@njit(error_model="numpy", _nrt=False)
def run(array, at, write):
    if write:
        poke(array, at)
    return peek(array, at)

for write in (False, True):
    try:
        run(np.zeros(3), 3, write)
    except IndexError:
        print("refused")
"""


def test_an_index_beyond_the_end_is_refused(tmp_path: Path) -> None:
    checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BEYOND], env=os.environ | checked, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["refused", "refused"]
