"""Notifications: to a real HTTP server, through apprise; joined, bounded, and never in the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from executor.notify import Herald, carrier_of
from executor.voices import Voices
from market.errors import ConfigError
from settings import Paths, Secrets, Settings


class Mailbox:
    """What a service received; `status` is its answer, and it takes `delay_s` to give it."""

    def __init__(self) -> None:
        self.got: list[dict[str, str]] = []
        self.status, self.delay_s = 200, 0.0
        box = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(box.delay_s)
                box.got.append(json.loads(body))
                self.send_response(box.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://127.0.0.1:{self.server.server_port}/hook/token-of-the-hook"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    yield box
    box.server.shutdown()
    box.server.server_close()


def settled(done: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.01)
    return done()


def test_it_arrives_joined_counted_and_loudest_first(mailbox: Mailbox) -> None:
    herald = Herald(carrier_of([mailbox.url]), "PurpleSky SYNUSDT", gather_s=0.2, pause_s=0.01)
    herald.hear("info", "decided", "a bar: nobody is told of it")
    for _ in range(3):
        herald.hear("warning", "feed", "market data lost")
    herald.hear("info", "swap", "version 2 decides from here")
    herald.hear("critical", "kill", "kill switch")
    assert settled(lambda: bool(mailbox.got))
    [message] = mailbox.got
    assert message["title"] == "PurpleSky SYNUSDT"
    assert message["type"] == "failure"
    assert message["message"].splitlines() == [
        "CRITICAL: kill switch",
        "warning: market data lost (×3)",
        "version 2 decides from here",
    ]
    assert herald.close()
    assert herald.counts.sent == 1


def test_a_slow_service_never_holds_up_the_caller_and_the_oldest_goes_first(mailbox: Mailbox) -> None:
    mailbox.delay_s = 0.6
    herald = Herald(carrier_of([mailbox.url]), "t", gather_s=0.0, pause_s=0.0, room=5)
    herald.hear("warning", "first", "first")
    time.sleep(0.2)  # the thread is waiting for the service
    started = time.monotonic()
    for number in range(50):
        herald.hear("warning", "x", f"number {number}")
    assert time.monotonic() - started < 0.1
    assert settled(lambda: len(mailbox.got) == 2)
    lines = mailbox.got[1]["message"].splitlines()
    assert lines == ["(45 older messages were dropped)", *(f"warning: number {n}" for n in range(45, 50))]
    assert herald.counts.dropped == 45
    herald.close()


def test_no_more_than_one_in_a_pause(mailbox: Mailbox) -> None:
    herald = Herald(carrier_of([mailbox.url]), "t", gather_s=0.0, pause_s=0.5)
    for number in range(10):
        herald.hear("warning", "x", f"number {number}")
        time.sleep(0.05)
    assert settled(lambda: sum(len(m["message"].splitlines()) for m in mailbox.got) == 10)
    assert len(mailbox.got) <= 3
    herald.close()


def test_a_service_that_refuses_is_tried_again_and_counted(mailbox: Mailbox) -> None:
    mailbox.status = 500
    herald = Herald(carrier_of([mailbox.url]), "t", gather_s=0.0, pause_s=0.01)
    herald.hear("critical", "kill", "kill switch")
    assert settled(lambda: herald.counts.failed == 1)
    assert len(mailbox.got) == 3
    mailbox.status = 200
    herald.hear("critical", "kill", "kill switch again")
    assert settled(lambda: herald.counts.sent == 1)
    herald.close()


def test_a_carrier_that_raises_does_not_end_the_thread() -> None:
    carried: list[str] = []

    def carrier(title: str, body: str, kind: str) -> bool:
        carried.append(body)
        raise RuntimeError("a plug-in with a bug")

    herald = Herald(carrier, "t", gather_s=0.0, pause_s=0.0)
    herald.hear("warning", "x", "one")
    assert settled(lambda: herald.counts.failed == 1)
    assert herald._thread.is_alive()
    assert herald.close()


def test_what_waits_at_the_end_is_sent(mailbox: Mailbox) -> None:
    herald = Herald(carrier_of([mailbox.url]), "t", gather_s=60.0, pause_s=60.0)
    herald.hear("info", "stop", "the session ended")
    assert herald.close(10.0)
    assert mailbox.got[0]["message"] == "the session ended"


def test_a_url_that_is_none_is_refused_without_being_said() -> None:
    with pytest.raises(ConfigError, match="URL 2 of 2") as caught:
        carrier_of(["json://127.0.0.1:9/x", "nonsense://very-secret-token/"])
    assert "very-secret-token" not in str(caught.value)


def test_where_to() -> None:
    several = Secrets(notify_urls=SecretStr(" json://a/x, xml://b/y?to=1,2\nntfy://c "))
    assert several.notification_urls() == ["json://a/x", "xml://b/y?to=1,2", "ntfy://c"]
    hook = "https://discord.com/api/webhooks/1234567890/" + "A" * 60
    secrets = Secrets(discord_webhook_url=SecretStr(hook), notify_urls=SecretStr("json://127.0.0.1/x"))
    assert secrets.notification_urls() == [hook, "json://127.0.0.1/x"]
    carrier_of([hook])  # apprise takes a webhook's address as Discord gives it


def test_secrets_reach_neither_message_nor_log_nor_console(
    mailbox: Mailbox, tmp_path: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    secrets = Secrets(bybit_api_secret=SecretStr("very-secret-key"), notify_urls=SecretStr(mailbox.url))
    settings = Settings(secrets=secrets, paths=Paths(data=tmp_path))  # type: ignore[arg-type]
    mailbox.status = 403
    voices = Voices(settings, "SYNUSDT", "dry-run", lambda _: None)
    voices.hear("critical", "x", f"sent with very-secret-key to {mailbox.url}")
    voices.error(RuntimeError("very-secret-key was wrong"))
    voices.close()
    log = (settings.paths.data / "logs" / "executor-dry-run-SYNUSDT.jsonl").read_text()
    captured = capfd.readouterr()
    said = json.dumps(mailbox.got) + log + captured.out + captured.err + str(voices.recent)
    assert mailbox.got
    assert "********" in log
    assert "very-secret-key" not in said
    assert "token-of-the-hook" not in said
