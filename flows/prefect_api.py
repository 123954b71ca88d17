"""A few questions to Prefect's server by plain HTTP: for those who must not wait for Prefect's import."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from flows.runtime import OrchestrationError
from flows.services import prefect_api
from settings import Settings

#: Rows a page: the most that the server gives.
_PAGE = 200


def ask(settings: Settings, path: str, body: dict[str, Any] | None = None, *, timeout_s: float = 20.0) -> Any:
    """The answer to a question; POST where there is a body, else GET.

    Raises
    ------
    OrchestrationError
        There is no answer, or it is an error.
    """
    url = f"{prefect_api(settings)}/{path}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise OrchestrationError(
            f"Prefect's server answers {error.code} at {url}", advice="Check that prefect.api_url is Prefect's API"
        ) from error
    except (OSError, ValueError) as error:
        raise OrchestrationError(
            f"no Prefect server at {prefect_api(settings)}",
            advice="Start it with `purplesky up`, or correct prefect.api_url",
        ) from error


def everything(settings: Settings, path: str, body: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """All rows of a filter, page by page."""
    rows: list[dict[str, Any]] = []
    while True:
        page = ask(settings, path, {**(body or {}), "limit": _PAGE, "offset": len(rows)})
        rows += page
        if len(page) < _PAGE:
            return rows
