"""Static files over HTTP, without a line for every request: ``python -I _site.py PORT HOST FOLDER``."""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Handler(SimpleHTTPRequestHandler):
    """Says only what went wrong."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing to say of a request that was answered."""


def main() -> None:
    """Serve until the process is ended."""
    port, host, folder = sys.argv[1:]
    with ThreadingHTTPServer((host, int(port)), partial(Handler, directory=folder)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
