"""A supervisor over small parts that behave as told: ``python small_installation.py FOLDER PART…``.

A part is ``name:behaviour``: ``well`` answers over HTTP, ``watched`` tells of its life by systemd's protocol,
``silent`` says that it is ready and then nothing, ``mute`` answers over HTTP once and then never, ``dies`` ends with
code 1, ``refuses`` ends with an error and advice, ``stubborn`` ignores SIGTERM and has a child in another session.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flows.installation import Part
from flows.processes import free_port
from flows.services import Service
from flows.supervisor import Log, Supervisor
from settings import Settings, override

_NOTIFY = (
    "import os,socket,sys,time\n"
    "def tell(t):\n"
    "    s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n"
    "    s.sendto(t.encode(),'\\0'+os.environ['NOTIFY_SOCKET'][1:])\n"
)
_HTTP = (
    "import sys,time\nfrom http.server import *\n"
    "class H(BaseHTTPRequestHandler):\n"
    "    count=0\n"
    "    def do_GET(self):\n"
    "        H.count+=1\n"
    "        time.sleep(600 if LIMIT and H.count>LIMIT else 0)\n"
    "        self.send_response(200); self.end_headers()\n"
    "    def log_message(self,*a): pass\n"
    "ThreadingHTTPServer(('127.0.0.1',int(sys.argv[1])),H).serve_forever()\n"
)
BEHAVIOUR = {
    "well": "LIMIT=0\n" + _HTTP,
    "mute": "LIMIT=1\n" + _HTTP,
    "watched": _NOTIFY + "tell('READY=1')\nwhile True: tell('WATCHDOG=1\\nSTATUS=all is well'); time.sleep(0.2)\n",
    "silent": _NOTIFY + "tell('READY=1')\ntime.sleep(600)\n",
    "dies": "print('about to die'); raise SystemExit(1)\n",
    "refuses": "import sys; print('error: nothing to work with. Bring something.', file=sys.stderr); sys.exit(2)\n",
    "stubborn": _NOTIFY + "import signal,subprocess\nsignal.signal(signal.SIGTERM,signal.SIG_IGN)\n"
    "subprocess.Popen([sys.executable,'-c','import time; time.sleep(600)'],start_new_session=True)\n"
    "while True: tell('WATCHDOG=1'); time.sleep(0.2)\n",
}


def settings_in(folder: Path) -> Settings:
    """Settings of an installation that loses patience quickly."""
    return override(
        Settings(),
        paths={"data": folder / "data", "mlruns": folder / "mlruns"},
        operations={
            **{"start_s": 60.0, "hang_s": 7.0, "backoff_s": 0.1, "wait_s": 0.5, "stop_s": 2.0},
            **{"breaker_deaths": 3, "breaker_window_s": 600.0, "breaker_pause_s": 600.0},
        },
    )


def part(word: str) -> Part:
    """The part that a word describes."""
    name, _, behaviour = word.partition(":")
    port = free_port() if behaviour in ("well", "mute") else 0
    command = (sys.executable, "-c", BEHAVIOUR[behaviour], str(port))
    health = f"http://127.0.0.1:{port}/" if port else ""
    ports = ((port, "reports.port"),) if port else ()
    return Part(name, Service(command), health, health, ports)


if __name__ == "__main__":
    parts = [part(word) for word in sys.argv[2:]]
    Supervisor(settings_in(Path(sys.argv[1])), parts, Log([one.name for one in parts])).run()
