"""What requests to the venue take from the environment, and that they take it once."""

from __future__ import annotations

import pytest
import requests

from executor.venue import VenueClient


def session_of(url: str) -> requests.Session:
    session: requests.Session = VenueClient(url, "key", "secret")._client().client
    return session


def test_proxies_and_certificates_are_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/certificates.pem")
    session = session_of("https://venue.example")
    assert session.proxies["https"] == "http://127.0.0.1:9"
    assert session.verify == "/certificates.pem"
    assert not session_of("http://127.0.0.1:8899").proxies.get("http")


def test_certificates_are_checked_where_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    assert session_of("https://venue.example").verify is True


def test_no_request_reads_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    session = session_of("https://venue.example")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert not session.trust_env
    prepared = session.prepare_request(requests.Request("GET", "https://venue.example/"))
    assert "Authorization" not in prepared.headers
    seen: list[object] = []

    class Adapter(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
            seen.append(kwargs.get("proxies"))
            answer = requests.Response()
            answer.status_code = 200
            return answer

        def close(self) -> None:
            """Nothing is open."""

    session.mount("https://", Adapter())
    session.send(prepared)
    assert seen == [{}]
