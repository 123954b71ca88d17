"""The model registry: MLflow, spoken to by its client alone.

A version is a folder of the registering run: the bundle under :data:`PLACE` and, where the full MLflow is installed,
what the MLflow UI wants to show beside it. The alias ``production`` says which version trades; the older stage
``Production`` counts where there is no alias. Both are one click in the UI.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from council._mlflow import Connection, Missing
from council._registration import BATCH, create_version, experiment_of, log_run
from council._version import Found, ModelVersionInfo
from council.bundle import load_bundle
from council.ledger import How, Ledger, LedgerEntry
from council.packaging import describe, package
from market.errors import BundleError, NoProductionError, RegistryError, RegistryUnavailable

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

#: The alias that a person gives to the version that shall trade.
PRODUCTION = "production"
#: Where a version's artifacts keep the bundle.
PLACE = "artifacts/council"
#: What to do where nothing is in Production.
TRAIN_FIRST = "Train a council, then promote it: purplesky promote, or the alias `production` in the MLflow UI"

_FOLDER = "council"


class Registry:
    """Councils by name and version.

    Parameters
    ----------
    uri
        ``sqlite:///path`` or ``http://host:port``. One address per installation: what was written through a server can
        only be read through it.
    artifact_root
        Where the artifacts of an SQLite registry are kept; a server has its own place. The ledger lies beside it.

    Notes
    -----
    MLflow is imported at the first call. Calls block, for some seconds at most when the registry is down.
    """

    def __init__(self, uri: str, artifact_root: Path) -> None:
        self.uri = uri
        self.artifact_root = artifact_root
        self.ledger = Ledger(artifact_root.parent / "ledger.jsonl")
        self._connection = Connection(uri)

    def register(
        self,
        name: str,
        bundle: Path,
        *,
        report: Path | None = None,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> int:
        """Put a bundle into the registry as the next version of ``name``, whatever the gate said.

        Parameters
        ----------
        name
            Registered model; the experiment has the same name.
        bundle
            Folder; it is checked first.
        report
            The training report, kept with the run under ``report/``.
        metrics, params
            For the run.
        tags
            For the run and the version; ``gate``, ``content_hash``, ``symbol``, ``timeframe`` and ``levels`` are added.
        description
            Markdown, for the version; empty lets the bundle describe itself.

        Returns
        -------
        int
            The version.

        Raises
        ------
        BundleError
            The bundle is damaged.
        RegistryUnavailable, RegistryError
            The registry is down or refuses; no version was made.
        """
        manifest = load_bundle(bundle).manifest
        if manifest is None:
            raise BundleError(f"{bundle} has no manifest", advice="Train the council again")
        own = {
            "gate": "passed" if manifest.gate_passed else "failed",
            "content_hash": manifest.content_hash,
            "symbol": manifest.symbol,
            "timeframe": manifest.timeframe,
            "levels": str(manifest.levels),
        }
        all_tags = {**(tags or {}), **own}
        with self._connection.calls(), tempfile.TemporaryDirectory() as scratch:
            client = self._connection.client
            folder = package(bundle, Path(scratch) / _FOLDER, PLACE)
            run = client.create_run(
                experiment_of(self._connection, self.artifact_root, name),
                run_name=f"{name} {manifest.content_hash[:8]}",
            )
            run_id = run.info.run_id
            try:
                log_run(client, run_id, metrics or {}, params or {}, all_tags)
                client.log_artifacts(run_id, str(folder), _FOLDER)
                if report is not None:
                    client.log_artifact(run_id, str(report), "report")
                version = create_version(client, name, run_id, all_tags, description or describe(manifest), _FOLDER)
            except BaseException:
                client.set_terminated(run_id, "FAILED")
                raise
            client.set_terminated(run_id, "FINISHED")
        return version

    def promote(self, name: str, version: int | None = None) -> ModelVersionInfo:
        """Give the alias ``production`` to a version, as the UI does, and write it into the ledger.

        Parameters
        ----------
        name
            Registered model.
        version
            ``None`` takes the latest.

        Raises
        ------
        RegistryError
            There is no such version.
        RegistryUnavailable
            The registry is down; nothing was changed, or it cannot be known.
        """
        chosen = self.version(name, version) if version is not None else self._latest(name)
        self.notice(name)
        return self._promote(chosen, "promote")

    def rollback(self, name: str) -> ModelVersionInfo:
        """Promote what was in Production before, by the ledger. Twice goes back two versions.

        Raises
        ------
        RegistryError
            The ledger knows of nothing before, or that version is not there any more.
        RegistryUnavailable
            The registry is down; nothing was changed, or it cannot be known.
        """
        self.notice(name)
        stack = self.ledger.in_production(name)
        if len(stack) < 2:
            raise RegistryError(
                f"the ledger knows of no version of {name} before the present one",
                advice="Choose one: purplesky promote --version N",
            )
        return self._promote(self.version(name, stack[-2]), "rollback")

    def notice(self, name: str) -> LedgerEntry | None:
        """Write into the ledger what is in Production, if somebody promoted it elsewhere; the new entry, if any.

        Raises
        ------
        RegistryUnavailable
            The registry is down.
        RegistryError
            The ledger cannot be written, or was changed.
        """
        try:
            found = self.production(name)
        except NoProductionError:
            return None
        except RegistryUnavailable:
            raise
        except RegistryError:  # alias and stage contradict each other: nothing is in Production until a person decides
            return None
        return self._note(found, "seen")

    def _note(self, info: ModelVersionInfo, how: How) -> LedgerEntry | None:
        return self.ledger.write(
            info.name, info.version, how, content_hash=info.content_hash, gate_passed=info.gate_passed
        )

    def _promote(self, chosen: ModelVersionInfo, how: How) -> ModelVersionInfo:
        name = chosen.name
        with self._connection.calls(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # stages are deprecated, and still in the UI
            client = self._connection.client
            for other in client.get_registered_model(name).latest_versions:
                if other.current_stage == "Production" and int(other.version) != chosen.version:
                    client.transition_model_version_stage(name, other.version, "Archived")
            client.set_registered_model_alias(name, PRODUCTION, str(chosen.version))
        entry = self._note(chosen, how)
        if entry is not None:
            over = f" over version {entry.over}" if entry.over is not None else ""
            text = f"version {entry.version}{over} by {entry.by} ({entry.how})"
            with self._connection.calls():
                self._connection.client.set_registered_model_tag(name, f"ledger.{entry.number:06d}", text)
        return chosen

    def production(self, name: str) -> ModelVersionInfo:
        """The version that shall trade.

        Raises
        ------
        NoProductionError
            There is none.
        RegistryError
            The alias and the stage name different versions.
        RegistryUnavailable
            The registry is down: what is in Production is unknown.
        """
        if not self._connection.exists():
            raise NoProductionError(f"there is no registry at {self.uri} yet", advice=TRAIN_FIRST)
        try:
            with self._connection.calls():
                model = self._connection.client.get_registered_model(name)
        except Missing as error:
            raise NoProductionError(f"no council is registered as {name}", advice=TRAIN_FIRST) from error
        aliased = {int(number) for alias, number in model.aliases.items() if alias.lower() == PRODUCTION}
        staged = {int(found.version) for found in model.latest_versions if found.current_stage == "Production"}
        if not aliased | staged:
            raise NoProductionError(f"no version of {name} is in Production", advice=TRAIN_FIRST)
        if len(aliased | staged) > 1:
            raise RegistryError(
                f"{name}: the alias `production` and the stage Production name different versions "
                f"({', '.join(map(str, sorted(aliased | staged)))})",
                advice="Decide with: purplesky promote --version N",
            )
        return self.version(name, (aliased | staged).pop())

    def look(self, name: str, cache: Path) -> Found:
        """Who is in Production, noticed and fetched; see :meth:`~council.lookout.Lookout.look`."""
        info = self.production(name)
        self.notice(name)  # a promotion in the MLflow UI is written down by whoever sees it first
        return Found(info, self.fetch(name, info.version, cache))

    def close(self) -> None:
        """Nothing stays open between calls."""

    def version(self, name: str, version: int) -> ModelVersionInfo:
        """One version.

        Raises
        ------
        RegistryError
            There is no such version.
        RegistryUnavailable
            The registry is down.
        """
        return ModelVersionInfo.of(self._version(name, version))

    def versions(self, name: str) -> list[ModelVersionInfo]:
        """All versions, oldest first; empty where nothing is registered under the name.

        Raises
        ------
        RegistryUnavailable
            The registry is down.
        """
        if not self._connection.exists():
            return []
        found: list[ModelVersion] = []
        with self._connection.calls():
            client = self._connection.client
            token: str | None = None
            while token != "":
                page = client.search_model_versions(f"name='{name}'", max_results=BATCH, page_token=token)
                found.extend(page)
                token = page.token or ""
        return sorted(map(ModelVersionInfo.of, found), key=lambda info: info.version)

    def newest_name(self, prefix: str) -> str:
        """The registered model, among those whose name begins with `prefix`, that has the newest version.

        Raises
        ------
        RegistryError
            There is none.
        RegistryUnavailable
            The registry is down.
        """
        models = []
        if self._connection.exists():
            with self._connection.calls():
                models = list(self._connection.client.search_registered_models(f"name LIKE '{prefix}%'"))
        newest = [
            (max(info.creation_timestamp for info in m.latest_versions), m.name) for m in models if m.latest_versions
        ]
        if not newest:
            raise RegistryError(
                f"no council is registered at {self.uri}", advice="Train one first: purplesky train --symbol SYMBOL"
            )
        name: str = max(newest)[1]
        return name

    def fetch(self, name: str, version: int, cache: Path) -> Path:
        """Bring a version's bundle into a cache.

        Parameters
        ----------
        name, version
            Which one, by number: an alias could move meanwhile.
        cache
            Folder; the bundle lies in ``cache/<content hash>`` and is downloaded once.

        Returns
        -------
        Path
            The bundle, checked.

        Raises
        ------
        BundleError
            What the registry holds is damaged, or not what its tag says.
        RegistryError
            There is no such version.
        RegistryUnavailable
            The registry is down.
        """
        found = self._version(name, version)
        expected = ModelVersionInfo.of(found).content_hash
        if expected and (here := cached(cache, expected)):
            return here
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
            bundle = self._download(found, Path(scratch))
            manifest = load_bundle(bundle).manifest
            content = manifest.content_hash if manifest else ""
            if expected and content != expected:
                raise BundleError(
                    f"version {version} of {name} has content {content[:12]}, its tag says {expected[:12]}",
                    advice="Do not trade it: register the council again and find out who changed it",
                )
            target = cache / content
            if target.exists():
                if cached(cache, content):  # another process was faster
                    return target
                shutil.rmtree(target)
            bundle.rename(target)
        return target

    def _latest(self, name: str) -> ModelVersionInfo:
        versions = self.versions(name)
        if not versions:
            raise RegistryError(f"no council is registered as {name}", advice="Train one first: purplesky train")
        return versions[-1]

    def _version(self, name: str, version: int) -> ModelVersion:
        if self._connection.exists():
            try:
                with self._connection.calls():
                    return self._connection.client.get_model_version(name, str(version))
            except Missing:
                pass
        numbers = ", ".join(str(info.version) for info in self.versions(name)) or "none"
        raise RegistryError(
            f"{name} has no version {version}", advice=f"Choose one that exists ({numbers}), or train a council"
        )

    def _download(self, version: ModelVersion, target: Path) -> Path:
        try:
            with self._connection.calls():
                from mlflow.artifacts import download_artifacts

                source = self._connection.client.get_model_version_download_uri(version.name, version.version)
                place = f"{source}/{PLACE}"
                local = download_artifacts(artifact_uri=place, dst_path=str(target), tracking_uri=self.uri)
        except Missing as error:
            raise BundleError(
                f"version {version.version} of {version.name} holds no bundle",
                advice="Promote another version, or train a council",
            ) from error
        return Path(local)


def cached(cache: Path, content_hash: str) -> Path | None:
    """The bundle of that hash in a cache, checked; ``None`` where it is not there or damaged."""
    folder = cache / content_hash
    if not re.fullmatch(r"[0-9a-f]{64}", content_hash) or not folder.is_dir():
        return None
    try:
        manifest = load_bundle(folder).manifest
    except BundleError:
        return None
    return folder if manifest is not None and manifest.content_hash == content_hash else None
