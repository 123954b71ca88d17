#!/usr/bin/env bash
# Create a virtual environment from a lock file: with uv (seconds), or with pip where uv cannot be had (minutes).
# usage: bootstrap.sh VENV LOCKFILE
set -euo pipefail
venv=$1 lock=$2 python=${PYTHON:-python3}

if ! "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "error: PurpleSky needs Python 3.11 or newer; '$python' is not. Install one, or name it: make PYTHON=/path/to/python3.12" >&2
  exit 2
fi
if ! "$python" -m venv "$venv" >"${TMPDIR:-/tmp}/purplesky-venv.$$" 2>&1; then
  cat "${TMPDIR:-/tmp}/purplesky-venv.$$" >&2
  echo "error: '$python -m venv' failed. On Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 2
fi
rm -f "${TMPDIR:-/tmp}/purplesky-venv.$$"

echo "installing $(grep -c '^[a-z]' "$lock") locked packages into $venv ..."
if "$venv/bin/python" -m pip install -q --disable-pip-version-check uv; then
  "$venv/bin/uv" pip install -q --python "$venv/bin/python" --compile-bytecode --require-hashes -r "$lock"
  "$venv/bin/uv" pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e .
else
  echo "uv cannot be installed here; using pip, which takes some minutes"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$lock"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
