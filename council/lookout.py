"""Who is in Production, asked in a process of its own that ends: MLflow's memory does not stay with a daemon.

MLflow's client brings pandas, Polars and SQLAlchemy where they are installed, more than the whole executor needs. So
the client runs in a child, when something has changed; whether it has is seen by a look at the registry that needs
neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import msgspec

from council._mlflow import Connection
from council._signature import signature
from council._version import Found
from council.registry import TRAIN_FIRST, Registry, cached
from market import errors
from market.errors import NoProductionError, PurpleSkyError, RegistryError, RegistryUnavailable

#: MLflow's first import after an installation compiles for a minute.
_LONGEST_S = 180.0
#: So long no child is started after one that found the registry down.
_PAUSE_S = 30.0
_ASK = "from council.lookout import main; main()"
_ROOT = Path(__file__).parents[1]
#: The child has no business with these.
_SECRET = ("BYBIT_", "DISCORD_", "NOTIFY_", "PURPLESKY_")


class Lookout(Protocol):
    """Tells who is in Production."""

    def look(self, name: str, cache: Path) -> Found:
        """The version of `name` in Production, its bundle in the cache, and checked.

        Whoever promoted it, the ledger knows it afterwards. Blocks.

        Raises
        ------
        NoProductionError
            There is none.
        BundleError
            What the registry holds is damaged, or not what its tag says.
        RegistryError
            The alias and the stage name different versions, or the registry or the ledger cannot be used.
        RegistryUnavailable
            The registry is down: what is in Production is unknown.
        """
        ...

    def close(self) -> None:
        """End what still works for it; it is not asked again."""
        ...


class Outside:
    """A :class:`Lookout` that keeps MLflow out of this process.

    Parameters
    ----------
    uri, artifact_root
        As for :class:`~council.registry.Registry`.
    """

    def __init__(self, uri: str, artifact_root: Path) -> None:
        self._uri, self._artifact_root = uri, artifact_root
        self._connection = Connection(uri)
        self._known: dict[str, tuple[str, Found | PurpleSkyError]] = {}
        self._down: tuple[float, RegistryUnavailable] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._one = threading.Lock()

    def look(self, name: str, cache: Path) -> Found:
        """See :meth:`Lookout.look`. Several threads may ask; one after the other is answered."""
        with self._one:
            return self._look(name, cache)

    def _look(self, name: str, cache: Path) -> Found:
        if self._closed:
            raise RegistryUnavailable("the registry is not asked any more", advice="Start again")
        self._connection.check_address()
        if not self._connection.exists():
            raise NoProductionError(f"there is no registry at {self._uri} yet", advice=TRAIN_FIRST)
        state = signature(self._connection, name)
        known = self._known.get(name) or self._recalled(name, cache)
        if state is not None and known is not None and known[0] == state:
            self._known[name] = known
            answer = known[1]
            if isinstance(answer, PurpleSkyError):
                raise answer
            if answer.folder.is_dir():
                return answer
        if self._down is not None and time.monotonic() < self._down[0]:
            raise self._down[1]
        self._down = None
        return self._asked(name, cache, state)

    def close(self) -> None:
        """See :meth:`Lookout.close`."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()

    def _asked(self, name: str, cache: Path, state: str | None) -> Found:
        self._known.pop(name, None)
        try:
            found = self._ask(name, cache)
        except RegistryUnavailable as error:
            self._down = (time.monotonic() + _PAUSE_S, error)
            raise
        except errors.BundleError:  # may be mended where no signature sees it: it is asked for again
            raise
        except RegistryError as error:
            if state is not None:
                self._known[name] = (state, error)
            raise
        if state is not None:
            self._known[name] = (state, found)
            self._keep(name, cache, state, found)
        return found

    def _note(self, name: str, cache: Path) -> Path:
        return cache / f"production-{hashlib.sha256(f'{self._uri} {name}'.encode()).hexdigest()[:16]}.json"

    def _keep(self, name: str, cache: Path, state: str, found: Found) -> None:
        """Write the answer down: who starts again while nothing has changed need not ask.

        A disk that takes no note is no reason not to trade: without one, the next start asks.
        """
        note = self._note(name, cache)
        draft = note.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            draft.write_bytes(msgspec.json.encode((state, found), enc_hook=str))
            draft.replace(note)

    def _recalled(self, name: str, cache: Path) -> tuple[str, Found] | None:
        """What was written down, if it is whole and so is its bundle."""
        try:
            state, found = msgspec.json.decode(
                self._note(name, cache).read_bytes(), type=tuple[str, Found], dec_hook=lambda _, text: Path(text)
            )
        except (OSError, msgspec.MsgspecError):
            return None
        return (state, found) if cached(cache.absolute(), found.folder.name) == found.folder else None

    def _ask(self, name: str, cache: Path) -> Found:
        asked = json.dumps([self._uri, str(self._artifact_root.absolute()), name, str(cache.absolute())])
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_SECRET)}
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, sys.path)])
        # Not in argv: an address may carry a password.
        with subprocess.Popen(
            [sys.executable, "-c", _ASK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        ) as child:
            self._child = child
            if self._closed:
                child.kill()
            try:
                out, said = child.communicate(asked.encode(), timeout=_LONGEST_S)
            except subprocess.TimeoutExpired as error:
                child.kill()
                raise RegistryUnavailable(
                    f"the registry at {self._uri} was asked for {_LONGEST_S:.0f} s and gave no answer",
                    advice="See whether it works: purplesky doctor",
                ) from error
            finally:
                self._child = None
        return _told(out, said, child.returncode)


def _told(out: bytes, said: bytes, code: int) -> Found:
    """What the child's answer says.

    Raises
    ------
    PurpleSkyError
        What the child met; a :class:`RegistryUnavailable` where it died without an answer.
    """
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        last = (said.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
        raise RegistryUnavailable(
            f"the process that asks the registry ended with {code} ({last})",
            advice="See what it says: purplesky doctor; if that is no help, report it",
        ) from None
    if "error" in answer:
        kind = getattr(errors, answer["error"], RegistryError)
        raise kind(answer["message"], advice=answer["advice"])
    return msgspec.convert(answer["found"], Found, dec_hook=lambda _, text: Path(text))


def main() -> None:
    """The child: a question on standard input, an answer on standard output."""
    uri, artifact_root, name, cache = json.load(sys.stdin)
    answer: dict[str, object]
    try:
        found = Registry(uri, Path(artifact_root)).look(name, Path(cache))
        answer = {"found": msgspec.to_builtins(found, enc_hook=str)}
    except PurpleSkyError as error:
        answer = {"error": type(error).__name__, "message": error.message, "advice": error.advice}
    sys.stdout.write(json.dumps(answer))
