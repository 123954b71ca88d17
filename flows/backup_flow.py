"""The flow ``backup``: one verified archive a night; old ones go."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows import runtime
from flows.archive import BackupError
from flows.backup import make_backup
from flows.tell import notify


@flow(name="backup", timeout_seconds=2 * 3600)
def backup(folder: str | None = None, config: str | None = None) -> str:
    """Back up registry, journals, studies, lake manifests, verdicts and settings.

    Parameters
    ----------
    folder
        Where to; ``None`` takes ``operations.backups``.
    config
        Settings file, for runs that Prefect starts.

    Returns
    -------
    str
        Path of the archive.

    Raises
    ------
    BackupError
        It could not be made, which is told by notification too; older archives stay.
    """
    settings = runtime.current(config)
    try:
        made = make_backup(settings, Path(folder) if folder else None)
    except BackupError as error:
        notify(settings, "The backup failed", str(error), "failure")
        raise
    runtime.say(made.text())
    kinds: dict[str, list[int]] = {}
    for member in made.manifest.members:
        kinds.setdefault("/".join(member.path.split("/")[:2]), []).append(member.bytes)
    rows = [{"what": kind, "files": len(sizes), "MB": round(sum(sizes) / 1e6, 2)} for kind, sizes in kinds.items()]
    create_table_artifact(key="backup", table=rows, description=made.text())
    return str(made.path)
