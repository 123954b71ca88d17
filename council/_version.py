"""A registered version, as the registry tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True, slots=True)
class ModelVersionInfo:
    """A registered version.

    Attributes
    ----------
    name, version
        Which one.
    tags
        As in the registry.
    run_id
        The run that registered it.
    gate_passed
        The gate's verdict, by the tag that people see; ``False`` where there is none.
    content_hash
        Of the bundle; empty where no tag tells it.
    description
        Markdown.
    created_ms
        When it was registered, UTC.
    """

    name: str
    version: int
    tags: Mapping[str, str]
    run_id: str
    gate_passed: bool
    content_hash: str
    description: str = field(default="", repr=False)
    created_ms: int = -1

    @classmethod
    def of(cls, version: ModelVersion) -> ModelVersionInfo:
        """What MLflow says of a version, in our words."""
        tags = dict(version.tags)
        return cls(
            name=version.name,
            version=int(version.version),
            tags=tags,
            run_id=version.run_id or "",
            gate_passed=tags.get("gate") == "passed",
            content_hash=tags.get("content_hash", ""),
            description=version.description or "",
            created_ms=int(version.creation_timestamp),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Who is in Production, and where its bundle lies in the cache."""

    info: ModelVersionInfo
    folder: Path
