"""Telling a person what became of a night, by the services that the executor uses too.

`DISCORD_WEBHOOK_URL` and `NOTIFY_URLS` say where. A message that cannot be delivered is said in the run's log; it never
changes what became of the night.
"""

from __future__ import annotations

import logging
import warnings
from typing import Literal

from settings import Settings

Kind = Literal["info", "success", "warning", "failure"]
_LOG = logging.getLogger("purplesky.flows.tell")
_ATTEMPTS = 2
#: Services cut longer messages; Discord at 2,000 characters.
_MOST_CHARACTERS = 1_800


def notify(settings: Settings, title: str, body: str, kind: Kind = "info") -> bool:
    """Deliver a message; whether every service took it. ``True`` where there is none to take it."""
    urls = settings.secrets.notification_urls()
    if not urls:
        return True
    # Its lines name addresses, which carry tokens.
    for name in ("apprise", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        # apprise's plug-ins import modules that Python is about to drop; that is for its keepers to know.
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise, NotifyType

        services = Apprise()
        known = [bool(services.add(url)) for url in urls]
    if not all(known):
        _LOG.warning("notification URL %d of %d is none that apprise understands", known.index(False) + 1, len(urls))
    text = body if len(body) <= _MOST_CHARACTERS else body[: _MOST_CHARACTERS - 2] + " …"
    for _ in range(_ATTEMPTS):
        try:
            if services.notify(body=text, title=f"PurpleSky: {title}", notify_type=NotifyType(kind)):
                return all(known)
        except Exception as error:  # noqa: BLE001 - whatever a service's plug-in raises: it is said, and tried again
            _LOG.warning("a notification service raised %s", type(error).__name__)
    _LOG.warning("not every notification service took: %s", title)
    return False
