"""What a journal that is still open holds."""

from __future__ import annotations

from typing import Any

from executor.actions import decode_actions
from executor.events import decode_event
from executor.journal import Journal


def said(journal: Journal, kind: type) -> list[Any]:
    """Every action of a kind that was ever journalled, in order."""
    rows = journal.query("SELECT actions FROM events ORDER BY seq")
    every = (action for (text,) in rows for action in decode_actions(str(text).encode()))
    return [action for action in every if isinstance(action, kind)]


def heard(journal: Journal, kind: type) -> list[Any]:
    """Every event of a kind that was ever journalled, in order."""
    rows = journal.query("SELECT event FROM events ORDER BY seq")
    every = (decode_event(str(text).encode()) for (text,) in rows)
    return [event for event in every if isinstance(event, kind)]
